"""What a metric needs to know about one system's predictions, and no text any more.

Every metric here is a function of a sum over examples: each prediction becomes one row of statistics,
and the score is a formula on the (weighted) sum of the rows. A bootstrap is then one matrix product.
The metrics themselves live beside this file; resampling lives in `bootstrap`.
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
    """One system's predictions under one metric, one row of statistics per example."""

    metric: str
    ids: tuple[str, ...]
    """The example of each row, so that two systems are compared on the same inputs."""
    rows_ND: FloatArray
    formula: Formula
    signature: str
    higher_is_better: bool = True
    units_N: FloatArray | None = None
    """What the score is a mean over, where each system counts its own, such as tokens of gold."""

    def scores(self, weights_RN: IntArray) -> FloatArray:
        """The score of each resample, (R,).

        Args:
            weights_RN: how often each example was drawn in each resample.
        """
        return self.formula(weights_RN @ self.rows_ND)

    def value(self) -> float:
        """The score of the predictions as they are."""
        return float(self.formula(self.rows_ND.sum(axis=0, keepdims=True))[0])

    def per_example(self) -> FloatArray:
        """The score of each example on its own, (N,)."""
        return self.formula(self.rows_ND)


def ratio(sums_RD: FloatArray) -> FloatArray:
    """The first statistic over the second, (R,); 0 where there is nothing to divide by."""
    top_R, bottom_R = sums_RD[:, 0], sums_RD[:, 1]
    return np.divide(top_R, bottom_R, out=np.zeros_like(top_R), where=bottom_R > 0)


def require_pairs(*tallies: Tally) -> None:
    """Refuse tallies that cannot be compared example by example.

    Raises:
        EvaluationError: if the metrics or the examples differ, or come in another order.
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
