"""The facts of a study's results_table: the schema of `results_table.json`.

Shares of the gap are 0..1: (row - fine-tuned) / (teacher - fine-tuned), all three of one cell, whose baseline has
the cell's own seed. Splits are `dev`, on which the paper decides, and `test`. Missing numbers are None.
"""

from typing import NotRequired, TypedDict

from understudy.report.facts import Interval

Scores = dict[str, dict[str, float]]
"""Split -> metric -> score."""


class CellFacts(TypedDict):
    """A finished cell: one method on one task with one seed."""

    stage: str
    method: str
    task: str
    seed: int
    scores: Scores
    gap_closed: dict[str, dict[str, Interval]]
    """Split -> metric -> share."""
    references: dict[str, Scores]
    """teacher and fine_tuned -> their scores."""
    seconds: float
    """What the student and its answers took; data, teacher, pool and baseline are shared by cells."""


class MissingFacts(TypedDict):
    """A cell without a result."""

    stage: str
    method: str
    task: str
    seed: int
    error: str
    """Why, as a sentence; empty where it is not made yet."""


class Means(TypedDict):
    """Shares of the gap, over the seeds of a task or over tasks."""

    mean: Interval
    """Over all metrics but distinct n-grams, as far as the teacher leads in them."""
    primary: Interval
    """Of each task's primary metric alone."""


class SplitMeans(TypedDict):
    """A method on a split."""

    tasks: dict[str, Means]
    """Task -> mean over its seeds; only tasks with a finished cell."""
    all: Means
    """Mean over those tasks."""


class MethodFacts(TypedDict):
    """A row of the results_table."""

    stage: str
    method: str
    dev: SplitMeans
    test: SplitMeans
    wins: int
    """How often it has the best dev score within its stage; who is level wins too."""
    contests: int
    """Of so many: tasks x metrics x seeds that it shares with another option of the stage."""
    cells: int
    asked: int
    """Cells that are finished, and that there are."""


class Option(TypedDict):
    """One of the methods a stage decides between."""

    method: str
    dev: Interval
    """Over the cells that all compared options have."""
    carried: bool
    """Kept from the stage before."""
    finished: int
    """Its cells; where they are not `far_enough` it is not compared."""


def far_enough(cells: int, *, most: int) -> bool:
    """Whether a row with so many finished cells may be compared with one that has the most: a few may be lucky."""
    return cells > 0 and most <= 2 * cells


class Decision(TypedDict):
    """What a stage keeps."""

    stage: str
    by: str
    """gap_closed: its mean over metrics, seeds and tasks; score: the primary metric, where rows only fine-tune."""
    options: list[Option]
    cells: int
    """Tasks x seeds that all compared options have."""
    kept: str | None
    """The best on dev; none while nothing can be compared."""
    runner_up: NotRequired[str]
    lead: NotRequired[Interval]
    """Of the kept one over the runner-up, paired; positive is better, also where lower scores are."""
    within_noise: NotRequired[bool]
    """Whether the interval of the lead holds 0."""


class ResultsTable(TypedDict):
    """Everything a study has found out so far."""

    study: str
    tasks: list[str]
    primary_metric: dict[str, str]
    """Task -> metric."""
    rows: list[CellFacts]
    missing: list[MissingFacts]
    summary: list[MethodFacts]
    decisions: list[Decision]
