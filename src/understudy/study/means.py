"""Means over a set of cells: one number per cell, averaged over seeds, then over tasks."""

from collections.abc import Callable, Sequence

from understudy.report.table_facts import MeanShares, SplitMeans
from understudy.study.cell_scores import Measured
from understudy.study.spread import Spread, interval_of, mean, mean_over_seeds, share

UNCOUNTED = "distinct_"
"""Metrics with this prefix are not part of means and wins: more distinct n-grams are not simply better."""

Aggregate = Callable[[Measured, str], Spread | None]
"""A finished cell and a split -> a number with its resamples, or None."""


def counted(cell: Measured) -> list[str]:
    """The metrics that are part of means and wins."""
    return [metric for metric in cell.higher_is_better if not metric.startswith(UNCOUNTED)]


def sign_of(cell: Measured, metric: str) -> int:
    """1 where higher scores are better, -1 where lower ones are."""
    return 1 if cell.higher_is_better[metric] else -1


def mean_share(cell: Measured, split: str) -> Spread | None:
    """The share of the gap, mean over the counted metrics in which the teacher clearly leads."""
    spreads = [_share(cell, split, metric) for metric in counted(cell)]
    return mean([spread for spread in spreads if spread])


def primary_share(cell: Measured, split: str) -> Spread | None:
    """The share of the gap in the primary metric."""
    return _share(cell, split, cell.primary_metric)


def primary_score(cell: Measured, split: str) -> Spread:
    """The score in the primary metric, negative where lower is better."""
    metric, sign = cell.primary_metric, sign_of(cell, cell.primary_metric)
    scores_R = sign * cell.scores[split][list(cell.higher_is_better).index(metric), -1]
    return Spread(sign * cell.facts["scores"][split][metric], scores_R, scores_R)


def across(cells: Sequence[Measured], measure: Aggregate, *, split: str, tasks: Sequence[str]) -> Spread | None:
    """The mean over tasks of the means over seeds.

    Args:
        cells: finished cells of one method.
        measure: the number to average; cells without it are left out.
        split: dev or test.
        tasks: all tasks of the study, in its order.
    """
    of_tasks = []
    for stream, task in enumerate(tasks):
        spreads = [measure(cell, split) for cell in cells if cell.facts["task"] == task]
        of_tasks.append(mean_over_seeds([spread for spread in spreads if spread], stream=stream))
    return mean([spread for spread in of_tasks if spread])


def split_means(cells: Sequence[Measured], *, split: str, tasks: Sequence[str]) -> SplitMeans:
    """A method's shares of the gap on a split, by task and over all."""

    def means(own: Sequence[Measured]) -> MeanShares:
        return {
            "mean": interval_of(across(own, mean_share, split=split, tasks=tasks)),
            "primary": interval_of(across(own, primary_share, split=split, tasks=tasks)),
        }

    by_task = {task: [cell for cell in cells if cell.facts["task"] == task] for task in tasks}
    return {"tasks": {task: means(own) for task, own in by_task.items() if own}, "all": means(cells)}


def _share(cell: Measured, split: str, metric: str) -> Spread | None:
    value = cell.facts["gap_closed"][split][metric]["value"]
    if value is None:
        return None
    teacher_R, fine_tuned_R, distilled_R = (
        sign_of(cell, metric) * (cell.scores[split][list(cell.higher_is_better).index(metric)])
    )
    return share(value, distilled_R - fine_tuned_R, teacher_R - fine_tuned_R)
