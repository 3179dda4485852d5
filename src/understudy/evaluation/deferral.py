"""Deferral: the student answers where it is sure, the teacher elsewhere, and what that system scores.

Confidences and their calibration are in `calibration`.
Axes: N examples, R resamples, D statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from understudy.evaluation.bootstrap import advantage, score
from understudy.evaluation.tally import FloatArray, IntArray, Tally, require_pairs

STEPS = 20
"""A curve has a point for each twentieth of the requests, and one for none."""
DEFERS_ALL = 1.0
"""A threshold above every calibrated probability."""
SMALLEST_SCORE = 1e-9
"""Is added to both scores of a quotient, so that a score of 0 has a quality."""


@dataclass(frozen=True, slots=True)
class DeferralPoint:
    """A system that defers the requests below a threshold, on one split."""

    threshold: float
    """Requests whose calibrated probability is below it are deferred."""
    deferred: float
    """Share of the requests that are deferred, from 0 to 1."""
    score: float
    """Of the system, in the unit of the metric, with its 95 % interval."""
    low: float
    high: float
    quality: float
    """The system's score as a share of the teacher's; the inverse where lower scores are better."""
    random: float
    """The score of a system that defers the same share at random."""
    gain: float
    """The paired difference to `random`, with its 95 % interval; positive is better."""
    gain_low: float
    gain_high: float


def not_worse(student: Tally, teacher: Tally) -> list[bool]:
    """For each example, whether the student's text scores at least as well as the teacher's on it alone.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(student, teacher)
    sign = 1 if student.higher_is_better else -1
    return [bool(one) for one in sign * (student.per_example() - teacher.per_example()) >= 0]


def thresholds(probabilities: Sequence[float], *, steps: int = STEPS) -> list[float]:
    """Thresholds that defer 0, 1 / steps, ... 1 of these requests, as closely as equal probabilities allow."""
    ascending = sorted(map(float, probabilities))
    ranks = [round(step * len(ascending) / steps) for step in range(1, steps)]
    return [0.0, *(ascending[min(rank, len(ascending) - 1)] for rank in ranks), DEFERS_ALL]


def deferral_curve(
    student: Tally, teacher: Tally, probabilities: Sequence[float], at: Sequence[float], weights_RN: IntArray
) -> list[DeferralPoint]:
    """The system's score on a split for each threshold.

    The statistics of an example are the teacher's where it is deferred and the student's elsewhere, so that a corpus
    score such as BLEU is that of the texts the system would give. Random deferral has the expected statistics:
    (1 - share) · student + share · teacher.

    Args:
        student: its texts under one metric.
        teacher: on the same examples.
        probabilities: of each example, calibrated.
        at: the thresholds.
        weights_RN: from `bootstrap.resample_weights`.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(student, teacher)
    p_N, best = np.asarray(probabilities, float), teacher.value()
    points = []
    for threshold in at:
        deferred_N = p_N < threshold
        share = float(deferred_N.mean())
        system = _with(student, np.where(deferred_N[:, None], teacher.statistics_ND, student.statistics_ND))
        chance = _with(student, (1 - share) * student.statistics_ND + share * teacher.statistics_ND)
        own, gain = score(system, weights_RN), advantage(system, chance, weights_RN)
        points.append(
            DeferralPoint(
                threshold=threshold,
                deferred=share,
                score=own.value,
                low=own.low,
                high=own.high,
                quality=_quality(own.value, best, higher_is_better=student.higher_is_better),
                random=chance.value(),
                gain=gain.value,
                gain_low=gain.low,
                gain_high=gain.high,
            )
        )
    return points


def _with(tally: Tally, statistics_ND: FloatArray) -> Tally:
    return replace(tally, statistics_ND=statistics_ND, units_N=None)


def _quality(value: float, teacher: float, *, higher_is_better: bool) -> float:
    share = (value + SMALLEST_SCORE) / (teacher + SMALLEST_SCORE)
    return share if higher_is_better else 1 / share
