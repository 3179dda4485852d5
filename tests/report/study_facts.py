"""Facts of an invented study."""

from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED
from understudy.report.table_facts import CellFacts, Decision, MeanShares, MethodFacts, ResultsTable, SplitMeans

NOTE = "on bleu the teacher is not clearly better than the fine-tuned student"


def share(value: float | None) -> Interval:
    """A share with an interval of ten points on each side."""
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": low, "high": high}


def means(value: float | None) -> MeanShares:
    """The same value for all metrics and for the primary metric."""
    return {"mean": share(value), "primary": share(value)}


def row(stage: str, method: str, easy: float, hard: float, *, finished: int = 4) -> MethodFacts:
    """A row of two tasks with two seeds each."""
    both: SplitMeans = {"tasks": {"easy": means(easy), "hard": means(hard)}, "all": means((easy + hard) / 2)}
    return {
        "paper_stage": stage,
        "method": method,
        "dev": both,
        "test": both,
        "wins": 3,
        "contests": 4,
        "finished": finished,
        "total": 4,
    }


def cell(method: str, task: str, seed: int, gap: Interval) -> CellFacts:
    """A finished cell scored by BLEU."""
    scores = {"dev": {"bleu": 55.0}, "test": {"bleu": 54.0}}
    return {
        "paper_stage": "S3",
        "method": method,
        "task": task,
        "seed": seed,
        "scores": scores,
        "gap_closed": {"dev": {"bleu": gap}, "test": {"bleu": gap}},
        "comparison_scores": {"teacher": {"dev": {"bleu": 61.0}}, FINE_TUNED: {"dev": {"bleu": 50.0}}},
        "seconds": 75.0,
    }


def decision(**changes: object) -> Decision:
    """Logits compared with Noisy and the fine-tuned student."""
    own: Decision = {
        "paper_stage": "S3",
        "by": "gap_closed",
        "options": [
            {"method": FINE_TUNED, "dev": {"value": 0.0, "low": 0.0, "high": 0.0}, "carried": True, "finished": 4},
            {"method": "Logits", "dev": share(0.4), "carried": False, "finished": 4},
            {"method": "Noisy", "dev": share(0.3), "carried": False, "finished": 4},
        ],
        "cells": 4,
        "kept": "Logits",
        "runner_up": "Noisy",
        "lead": {"value": 0.1, "low": -0.02, "high": 0.22},
        "within_noise": True,
    }
    own.update(changes)  # type: ignore[typeddict-item]
    return own


def results_example() -> ResultsTable:
    """Two rows on two tasks, one failed cell and one that is not finished."""
    return {
        "study": "little",
        "tasks": ["easy", "hard"],
        "primary_metric": {"easy": "bleu", "hard": "bleu"},
        "metric_labels": {"bleu": "BLEU"},
        "rows": [cell("Logits", "easy", 1, share(0.5)), cell("Logits", "hard", 1, {**share(None), "note": NOTE})],
        "missing": [
            {"paper_stage": "S3", "method": "Noisy", "task": "easy", "seed": 1, "error": "the disk <is> full"},
            {"paper_stage": "S3", "method": "Noisy", "task": "hard", "seed": 1, "error": ""},
        ],
        "summary": [row("S3", "Logits", 0.5, 0.3), row("S3", "My own", 0.2, 0.1, finished=1)],
        "decisions": [decision()],
    }


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace("\u202f", " ").replace("\u00a0", " ")
