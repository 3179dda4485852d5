"""Which option each paper stage keeps, and how often each option wins."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED
from understudy.report.table_facts import CellFacts, Decision, enough_cells
from understudy.study.cell_scores import Measured
from understudy.study.means import Aggregate, across, counted, mean_share, primary_score, sign_of
from understudy.study.spread import Spread, interval_of

By = Literal["gap_closed", "score"]
AGGREGATES: Mapping[By, Aggregate] = {"gap_closed": mean_share, "score": primary_score}

Cells = Mapping[tuple[str, int], Measured]
"""Task and seed -> the finished cell of one option."""
DEV = "dev"


def decide(
    stage: str, options: Mapping[str, Cells], *, by: By, carried: str | None, tasks: tuple[str, ...]
) -> Decision:
    """The option with the best dev mean, over the cells that all compared options have.

    Args:
        stage: the name of the paper stage.
        options: method -> its finished cells; one with less than half as many as another is listed and not compared,
            because one lucky cell would decide all later stages.
        by: the number to average.
        carried: the option that the previous stage kept.
        tasks: the tasks of the study, in its order.
    """
    most = max(map(len, options.values()), default=0)
    compared = {name: {*own} for name, own in options.items() if enough_cells(len(own), most=most)}
    shared = set.intersection(*compared.values()) if compared else set()
    cells = {name: [own[at] for at in sorted(shared)] if name in compared else [] for name, own in options.items()}
    spreads = {name: across(own, AGGREGATES[by], split=DEV, tasks=tasks) for name, own in cells.items()}
    lower = by == "score" and any(
        sign_of(own[at], own[at].primary_metric) < 0 for own in options.values() for at in own
    )
    decision: Decision = {
        "paper_stage": stage,
        "by": by,
        "options": [
            {
                "method": name,
                "dev": _shown(spread, lower=lower),
                "carried": name == carried,
                "finished": len(options[name]),
            }
            for name, spread in spreads.items()
        ],
        "cells": len(shared),
        "kept": None,
    }
    ranked = sorted(((name, own) for name, own in spreads.items() if own), key=lambda pair: -pair[1].value)
    if ranked:
        decision["kept"] = ranked[0][0]
    if len(ranked) > 1:
        (_, best), (decision["runner_up"], second) = ranked[:2]
        decision["lead"] = lead = best.minus(second).interval()
        decision["within_noise"] = lead["low"] is None or lead["low"] <= 0
    return decision


def baseline_of(options: Mapping[str, Cells]) -> Cells:
    """The fine-tuned student as an option: the baseline of each cell, which closes 0 % of the gap."""
    return {at: _as_baseline(cell) for own in reversed(list(options.values())) for at, cell in own.items()}


def wins_of(name: str, options: Mapping[str, Cells]) -> tuple[int, int]:
    """How often an option has the best dev score, and the number of contests: tasks x seeds x counted metrics.

    Only cells that another option has too are contests. A tie with the best counts as a win.
    """
    wins = contests = 0
    for at, cell in options[name].items():
        compared = [own[at] for own in options.values() if at in own]
        if len(compared) < 2:  # noqa: PLR2004 - a single option has no contest
            continue
        for metric in counted(cell):
            best = max(sign_of(cell, metric) * other.facts["scores"][DEV][metric] for other in compared)
            wins += sign_of(cell, metric) * cell.facts["scores"][DEV][metric] == best
            contests += 1
    return wins, contests


def _as_baseline(cell: Measured) -> Measured:
    nothing: Interval = {"value": 0.0, "low": 0.0, "high": 0.0}
    gaps = {
        split: {metric: gap if gap["value"] is None else nothing for metric, gap in own.items()}
        for split, own in cell.facts["gap_closed"].items()
    }
    facts: CellFacts = cell.facts | {
        "method": FINE_TUNED,
        "scores": cell.facts["comparison_scores"][FINE_TUNED],
        "gap_closed": gaps,
    }
    scores = {split: np.take(own_MKR, [0, 1, 1], axis=1) for split, own_MKR in cell.scores.items()}
    return replace(cell, facts=facts, scores=scores)


def _shown(spread: Spread | None, *, lower: bool) -> Interval:
    """The interval in the metric's own direction."""
    found = interval_of(spread)
    if not lower or found["value"] is None:
        return found
    low, high = found["low"], found["high"]
    return {"value": -found["value"], "low": None if high is None else -high, "high": None if low is None else -low}
