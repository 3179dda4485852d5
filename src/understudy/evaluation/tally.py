"""The sufficient statistics of one system's outputs under one metric.

Every metric here is a function of a sum over examples: each example gives one row of statistics, and the score is a
formula on the (weighted) sum of the rows, so a bootstrap is one matrix product. This module handles rows and formulas.
It does not depend on texts or on any particular metric; resampling is in `bootstrap`.
Axes: N examples, D statistics, R resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.errors import EvaluationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Formula = Callable[[FloatArray], FloatArray]
"""Sums of statistics, (R, D), to scores, (R,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """One system's outputs under one metric, one row of statistics per example."""

    metric: str
    ids: tuple[str, ...]
    """The example of each row, so that two systems are compared on the same inputs."""
    statistics_ND: FloatArray
    formula: Formula
    signature: str
    higher_is_better: bool = True
    units_N: FloatArray | None = None
    """What each example contributes to the denominator, where it depends on the system, such as target tokens."""

    def scores(self, weights_RN: IntArray) -> FloatArray:
        """The score of each resample, (R,).

        Args:
            weights_RN: how often each example was drawn in each resample.
        """
        return self.formula(weights_RN @ self.statistics_ND)

    def value(self) -> float:
        """The score of all examples, each counted once."""
        return float(self.formula(self.statistics_ND.sum(axis=0, keepdims=True))[0])

    def per_example(self) -> FloatArray:
        """The score of each example on its own, (N,)."""
        return self.formula(self.statistics_ND)


def ratio(sums_RD: FloatArray) -> FloatArray:
    """The first statistic divided by the second, (R,); 0 where the second is 0."""
    numerator_R, denominator_R = sums_RD[:, 0], sums_RD[:, 1]
    return np.divide(numerator_R, denominator_R, out=np.zeros_like(numerator_R), where=denominator_R > 0)


def mean_per_example(values_N: FloatArray) -> FloatArray:
    """Statistics whose `ratio` is the mean of one value per example, (N, 2)."""
    return np.stack([values_N, np.ones_like(values_N)], axis=1)


def require_pairs(*tallies: Tally) -> None:
    """Refuse tallies that cannot be compared example by example.

    Raises:
        EvaluationError: if the metrics or the examples differ, or the examples are in another order.
    """
    first, *others = tallies
    for other in others:
        if other.metric != first.metric:
            raise EvaluationError(
                f"a paired comparison needs one metric, got {first.metric!r} and {other.metric!r}; "
                "tally both systems with the same metric"
            )
        if other.ids != first.ids:
            shared = len(set(first.ids) & set(other.ids))
            raise EvaluationError(
                f"a paired comparison needs the same examples in the same order, got {len(first.ids)} and "
                f"{len(other.ids)} examples of which {shared} are shared; score both systems on one split"
            )
