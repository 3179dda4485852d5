"""How far a value is on the required side of its bound, with the paired bootstrap interval.

    margin = value - bound   for >= and >
    margin = bound - value   for <= and <

The interval is that of the difference between system and bound over the same resamples. A bound that is a number does
not vary, so its interval is that of the score.
"""

from dataclasses import dataclass, replace

import numpy as np

from understudy.evaluation.bootstrap import advantage
from understudy.evaluation.requirements import Requirement
from understudy.evaluation.tally import FloatArray, IntArray, Tally

EQUAL = 1e-9
"""Values that differ by less are equal: 60.3 - 61.3 is not exactly -1 in binary."""


@dataclass(frozen=True, slots=True)
class Margin:
    """A value, its bound and the distance between them; at least 0 where the requirement holds."""

    value: float
    bound: float
    margin: float
    low: float | None = None
    """The ends of the 95 % interval of the margin; None where nothing was resampled."""
    high: float | None = None


def score_margin(requirement: Requirement, candidate: Tally, other: Tally | None, weights_RN: IntArray) -> Margin:
    """The margin of a metric.

    Args:
        requirement: on the metric of the tallies.
        candidate: of the system that is judged.
        other: of the system that the requirement names; None if the bound is a number.
        weights_RN: from `resample_weights`.

    Raises:
        EvaluationError: if the tallies have other examples.
    """
    reference = other or candidate
    bound = replace(reference, formula=lambda sums_RD: bound_of(requirement, reference.formula(sums_RD)))
    one, two = (replace(own, higher_is_better=requirement.is_lower_bound) for own in (candidate, bound))
    found = advantage(one, two, weights_RN)
    return Margin(candidate.value(), bound.value(), found.value, found.low, found.high)


def measured_margin(requirement: Requirement, value: float, other: float | None) -> Margin:
    """The margin of something that was measured once, such as latency or size; it has no interval."""
    bound = float(bound_of(requirement, np.array([value if other is None else other]))[0])
    return Margin(value, bound, value - bound if requirement.is_lower_bound else bound - value)


def bound_of(requirement: Requirement, values_R: FloatArray) -> FloatArray:
    """The bound for each value of the system that the requirement names, (R,)."""
    if requirement.system is None:
        return np.full_like(values_R, requirement.offset)
    return values_R + requirement.offset * (np.abs(values_R) if requirement.relative else 1.0)


def holds(requirement: Requirement, margin: float) -> bool:
    """Whether a margin, or the low end of its interval, is on the required side. No margin at all (nan) does not."""
    return margin > EQUAL if requirement.is_strict else margin >= -EQUAL
