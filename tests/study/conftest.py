"""A study at the smallest sizes, finished cells that need no training, and a record of what a study reports."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from understudy.config.study import Study, check_study
from understudy.evaluation.tally import FloatArray
from understudy.progress import NO_PROGRESS, NoProgress, ProgressCallback
from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, TEACHER
from understudy.report.table_facts import CellFacts
from understudy.study.cell_scores import Measured
from understudy.study.run_study import StudyResult, run_study

T = TypeVar("T")
Finished = Callable[..., Measured]
RESAMPLES = 40
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "heads": 1, "feed_forward": 4}
ONE_EPOCH = {"epochs": 1, "warmup_steps": 1}
TINY: dict[str, Any] = {
    "name": "little",
    "base": {
        "precision": "float32",
        "task": {
            "forecast": {"labeled": 3, "unlabeled": 2, "dev": 2, "test": 2, "references": 1},
            "max_source_tokens": 200,
            "max_target_tokens": 200,
            "metrics": ["chrf", "nll", "distinct_2"],
            "primary_metric": "nll",
        },
        "teacher": {"scratch": {"width": 4, **SMALL}, "vocab_size": 300, "finetune": ONE_EPOCH},
        "student": {"scratch": {"width": 4, **SMALL}, "finetune": ONE_EPOCH},
        "training": ONE_EPOCH,
        "evaluation": {"decoding": {"kind": "greedy"}, "resamples": 20},
    },
    "tasks": {"tiny": None},
    "seeds": [1, 2],
    "methods": [
        {"name": "Logits", "group": "S3", "method": "logits_kd"},
        {"name": "Sequence-level", "group": "S4", "method": "sequence_level"},
    ],
}


@dataclass
class Recorder(NoProgress):
    """A progress that keeps the titles of the work and the lines of text it receives."""

    titles: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Keeps the title."""
        self.titles.append(title)
        yield NO_PROGRESS

    def log(self, message: str) -> None:
        """Keeps the line."""
        self.lines.append(message)


@pytest.fixture
def raw() -> dict[str, Any]:
    """That study as plain data."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny() -> Study:
    """That study."""
    return check_study(copy.deepcopy(TINY), folder=Path())


@pytest.fixture(scope="session")
def studied(tiny: Study, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """That study, run with one thread: on some machines two threads sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run_study(tiny, out=tmp_path_factory.mktemp("runs"))
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def store(studied: StudyResult, tmp_path: Path) -> Path:
    """A copy of the stages of that study, without its records."""
    return Path(shutil.copytree(studied.folder.parent / "store", tmp_path / "store"))


@pytest.fixture
def finished() -> Finished:
    """Returns a function that makes a finished cell without training."""
    return made


def scores_of(folder: Path, method: str, seed: int) -> Path:
    """The stage with the scores of a cell of the tiny study."""
    record = json.loads((folder / "cells" / f"tiny-{method}-{seed}.json").read_text())
    return folder.parent / "store" / str(record["stage"])


def inputs_of(stage: Path) -> dict[str, Path]:
    """Field of a stage -> folder of the stage that it names."""
    manifest = json.loads((stage / "manifest.json").read_text())
    return {name: stage.parent / folder for name, folder in manifest["inputs"].items()}


def delete_students(studied: StudyResult, store: Path, method: str) -> None:
    """Deletes the students of a method from a copy of the store, with their predictions and scores."""
    for seed in (1, 2):
        scores = scores_of(studied.folder, method, seed)
        own = [folder for name, folder in inputs_of(scores).items() if name.startswith("systems.2.")]
        for folder in (scores, *own):
            shutil.rmtree(store / folder.name)


def drawn(teacher: float, fine_tuned: float, distilled: float, *, seed: int) -> FloatArray:
    """Scores of three systems that move together from resample to resample, (K, R); the first ones are exact."""
    rng = np.random.default_rng(seed)
    shared_R, own_KR = rng.normal(0, 1, RESAMPLES), rng.normal(0, 0.3, (3, RESAMPLES))
    shared_R[0], own_KR[:, 0] = 0, 0
    return np.array([[teacher], [fine_tuned], [distilled]]) + shared_R + own_KR


def made(
    task: str, seed: int, scores: tuple[float, float, float], *, metric: str = "bleu", known: bool = True
) -> Measured:
    """A finished cell with one metric, on dev as on test.

    Args:
        task: of the study.
        seed: of the student; it also draws the resamples.
        scores: of teacher, fine-tuned and distilled student.
        metric: nll is better where it is lower.
        known: whether the teacher leads clearly enough for a share.
    """
    teacher, fine_tuned, distilled = scores
    share = (distilled - fine_tuned) / (teacher - fine_tuned) if known else None
    gap: Interval = {"value": share, "low": None, "high": None}
    facts: CellFacts = {
        "paper_stage": "S3",
        "method": "some",
        "task": task,
        "seed": seed,
        "scores": both({metric: distilled}),
        "gap_closed": both({metric: gap}),
        "comparison_scores": {TEACHER: both({metric: teacher}), FINE_TUNED: both({metric: fine_tuned})},
        "seconds": 1.0,
    }
    scores_MKR = drawn(*scores, seed=seed)[None]
    return Measured(facts, both(scores_MKR), {metric: metric != "nll"}, metric)


def both(own: T) -> dict[str, T]:
    """The same on dev and test."""
    return {"dev": own, "test": own}
