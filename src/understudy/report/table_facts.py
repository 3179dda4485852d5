"""The facts of a study's results table: the schema of `results_table.json`.

Shares of the gap are in 0..1: (row - fine-tuned) / (teacher - fine-tuned), with all three scores from one cell, whose
fine-tuned student has the cell's own seed. The splits are `dev`, on which the paper decides, and `test`. A missing
number is None. A paper stage is one of S1 to S8 of Calderon et al. 2023, or a stage that the study defines.
"""

from typing import NotRequired, TypedDict

from understudy.report.content_facts import Interval

SplitScores = dict[str, dict[str, float]]
"""Split -> metric -> score."""


class CellFacts(TypedDict):
    """A finished cell: one method on one task with one seed."""

    paper_stage: str
    method: str
    task: str
    seed: int
    scores: SplitScores
    gap_closed: dict[str, dict[str, Interval]]
    """Split -> metric -> share."""
    comparison_scores: dict[str, SplitScores]
    """Scores of the two systems that bound the gap, teacher and fine_tuned."""
    seconds: float
    """Duration of training the student and predicting with it; cells share data, teacher, pool and baseline."""


class MissingFacts(TypedDict):
    """A cell without a result."""

    paper_stage: str
    method: str
    task: str
    seed: int
    error: str
    """Why the cell failed, as a sentence; empty if it has not run yet."""


class MeanShares(TypedDict):
    """Mean shares of the gap, over the seeds of a task or over tasks."""

    mean: Interval
    """Over all metrics in which the teacher clearly leads, without distinct n-grams."""
    primary: Interval
    """Over the primary metric of each task alone."""


class SplitMeans(TypedDict):
    """The mean shares of a method on one split."""

    tasks: dict[str, MeanShares]
    """Task -> mean over its seeds; only tasks with a finished cell."""
    all: MeanShares
    """Mean over those tasks."""


class MethodFacts(TypedDict):
    """A row of the results table."""

    paper_stage: str
    method: str
    dev: SplitMeans
    test: SplitMeans
    wins: int
    """Number of contests in which the row has the best dev score of its paper stage; ties count."""
    contests: int
    """Tasks x metrics x seeds for which another option of the paper stage has a cell too."""
    finished: int
    """Number of finished cells."""
    total: int
    """Number of all cells."""


class Option(TypedDict):
    """A method among which a paper stage chooses."""

    method: str
    dev: Interval
    """Over the cells that all compared options have."""
    carried: bool
    """Whether the previous paper stage kept this method."""
    finished: int
    """Number of finished cells; without `enough_cells` the option is not compared."""


class Decision(TypedDict):
    """The choice of a paper stage."""

    paper_stage: str
    by: str
    """gap_closed: mean over metrics, seeds and tasks; score: the primary metric, if the rows only fine-tune."""
    options: list[Option]
    cells: int
    """Tasks x seeds that all compared options have."""
    kept: str | None
    """The option with the best dev value; None if nothing can be compared yet."""
    runner_up: NotRequired[str]
    lead: NotRequired[Interval]
    """Paired difference between the kept option and the runner-up. Positive is better, also for metrics where lower
    scores are better."""
    within_noise: NotRequired[bool]
    """Whether the interval of the lead includes 0."""


class ResultsTable(TypedDict):
    """The content of a results table, complete or not."""

    study: str
    tasks: list[str]
    primary_metric: dict[str, str]
    """Task -> metric."""
    metric_labels: dict[str, str]
    """Metric -> its usual spelling, with an arrow where lower is better."""
    rows: list[CellFacts]
    missing: list[MissingFacts]
    summary: list[MethodFacts]
    decisions: list[Decision]


def enough_cells(finished: int, *, most: int) -> bool:
    """Whether a method with this many finished cells may be compared: at least half as many as `most`.

    A method with fewer cells may look good by chance.
    """
    return finished > 0 and most <= 2 * finished
