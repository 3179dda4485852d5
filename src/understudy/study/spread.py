"""A number with its resamples, averaged over metrics, seeds and tasks: seeds and examples are drawn together.

In a resample the examples are drawn once per task, so every system, metric and seed has the same ones;
then the seeds are drawn, the same for every method with the same seeds. Differences of methods are thus paired.
With one seed an interval covers examples only; with S seeds, drawing them understates their variance by
(S - 1) / S.
Axes: R resamples, S seeds.
Source: Efron & Tibshirani 1993, chapter 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.evaluation.bootstrap import TAIL
from understudy.evaluation.tally import FloatArray
from understudy.report.content_facts import Interval
from understudy.report.facts import NOT_MEASURED

SEED = 13
"""Seed of the draws of seeds."""


@dataclass(frozen=True, eq=False)
class Spread:
    """A number and its value in each resample; an unknown value counts against both ends of the interval."""

    value: float
    low_R: FloatArray
    high_R: FloatArray

    def interval(self) -> Interval:
        """The 95 % percentile interval; an end that no finite resample bounds is None."""
        low = float(np.quantile(self.low_R, TAIL, method="lower"))
        high = float(np.quantile(self.high_R, 1 - TAIL, method="higher"))
        return {
            "value": self.value,
            "low": low if np.isfinite(low) else None,
            "high": high if np.isfinite(high) else None,
        }

    def minus(self, other: "Spread") -> "Spread":
        """The paired difference."""
        return Spread(self.value - other.value, self.low_R - other.high_R, self.high_R - other.low_R)


def share(value: float, gain_R: FloatArray, gap_R: FloatArray) -> Spread:
    """A share of the gap: `value` as `gap_closed` gives it, unknown where a resample turns the gap around."""
    low_R, high_R = np.full_like(gap_R, -np.inf), np.full_like(gap_R, np.inf)
    for share_R in (low_R, high_R):
        np.divide(gain_R, gap_R, out=share_R, where=gap_R > 0)
    return Spread(value, low_R, high_R)


def mean(spreads: Sequence[Spread]) -> Spread | None:
    """The mean over metrics or tasks, all of which are in every resample; None if there are none."""
    if not spreads:
        return None
    shortest = min(len(spread.low_R) for spread in spreads)
    return Spread(
        float(np.mean([spread.value for spread in spreads])),
        np.mean([spread.low_R[:shortest] for spread in spreads], axis=0),
        np.mean([spread.high_R[:shortest] for spread in spreads], axis=0),
    )


def mean_over_seeds(spreads: Sequence[Spread], *, stream: int) -> Spread | None:
    """The mean over the seeds of a task, which are drawn with replacement in each resample.

    Args:
        spreads: one per seed.
        stream: a different number for each task, so that the seeds of two tasks are drawn independently.
    """
    whole = mean(spreads)
    if whole is None:
        return None
    resamples = len(whole.low_R)
    drawn_RS = np.random.default_rng([SEED, stream]).integers(len(spreads), size=(resamples, len(spreads)))
    low_R, high_R = (
        np.take_along_axis(np.stack([own[:resamples] for own in ends], axis=1), drawn_RS, axis=1).mean(axis=1)
        for ends in ([spread.low_R for spread in spreads], [spread.high_R for spread in spreads])
    )
    return Spread(whole.value, low_R, high_R)


def interval_of(spread: Spread | None) -> Interval:
    """The interval of a number; one without values if there is no number."""
    return spread.interval() if spread else NOT_MEASURED
