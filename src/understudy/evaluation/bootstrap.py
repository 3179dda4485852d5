"""Bootstrap confidence intervals of scores, and paired bootstrap intervals of differences between systems.

A resample draws as many examples as there are, with replacement. Its weights are drawn once per split and used for
every system and metric, so that two systems are always compared on the same examples.
Axes: N examples, R resamples.
Source: Efron & Tibshirani 1993, chapter 13; Koehn 2004 (W04-3250) for pairs.
"""

from dataclasses import dataclass

import numpy as np

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray, IntArray, Tally, require_pairs
from understudy.records import Score

TAIL = 0.025
"""Share of the resamples outside the interval on each side: intervals are 95 % intervals."""


@dataclass(frozen=True, slots=True)
class Advantage:
    """The paired difference of two systems: positive where the first is better, also for metrics to minimise."""

    metric: str
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class GapClosed:
    """The share of the gap between fine-tuned student and teacher: 0 for no gain, 1 for the teacher's score."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    note: str = ""
    """The reason why there is no share; empty where there is one."""


def resample_weights(examples: int, *, resamples: int = 1000, seed: int) -> IntArray:
    """The number of times each example is drawn in each resample, (R, N); every row sums to N."""
    rng = np.random.default_rng(seed)
    drawn_RN = rng.integers(examples, size=(resamples, examples))
    return np.stack([np.bincount(drawn_N, minlength=examples) for drawn_N in drawn_RN])


def score(tally: Tally, weights_RN: IntArray) -> Score:
    """The score of one system with its 95 % percentile interval."""
    low, high = _interval(_resampled(tally, weights_RN))
    return Score(
        metric=tally.metric,
        value=tally.value(),
        low=low,
        high=high,
        signature=tally.signature,
        higher_is_better=tally.higher_is_better,
    )


def advantage(better: Tally, other: Tally, weights_RN: IntArray) -> Advantage:
    """The paired difference of two systems, in the metric's unit, with its 95 % interval; positive is better.

    Args:
        better: the first system; the result is negative where it is worse.
        other: the system it is compared with, on the same examples.
        weights_RN: from `resample_weights`, the same for both.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(better, other)
    low, high = _interval(_difference(better, other, weights_RN))
    sign = 1 if better.higher_is_better else -1
    return Advantage(better.metric, sign * (better.value() - other.value()), low, high)


def gap_closed(teacher: Tally, *, fine_tuned: Tally, distilled: Tally, weights_RN: IntArray) -> GapClosed:
    """The share of the gap between teacher and fine-tuned student that distillation closes.

        share = (distilled − fine-tuned) / (teacher − fine-tuned)

    There is no share where the teacher is not clearly better than the fine-tuned student: a share of a gap that may be
    zero is meaningless. There is none either where the systems count different units: with another tokenizer the same
    likelihood is another number per token.

    Args:
        teacher: the upper end of the gap.
        fine_tuned: the student trained on gold targets only, the lower end of the gap.
        distilled: the student whose share is computed.
        weights_RN: from `resample_weights`, the same for all three.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(teacher, fine_tuned, distilled)
    if any(not same_units(teacher, student) for student in (fine_tuned, distilled)):
        note = (
            f"{teacher.metric} is a mean over tokens, and the systems tokenize the same targets differently, so their "
            "means cannot be compared"
        )
        return GapClosed(teacher.metric, None, None, None, note)
    gap = advantage(teacher, fine_tuned, weights_RN)
    if gap.low <= 0:
        note = (
            f"on {gap.metric} the teacher is not clearly better than the fine-tuned student: the difference is "
            f"{gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}], and a share of such a gap is meaningless"
        )
        return GapClosed(gap.metric, None, None, None, note)
    gap_R, gain_R = _difference(teacher, fine_tuned, weights_RN), _difference(distilled, fine_tuned, weights_RN)
    # Where a resample reverses the gap its share is undefined, so it counts against both ends. The gap's own interval
    # excludes more resamples at each end than there are such resamples, so both ends stay finite.
    low_R, high_R = np.full_like(gap_R, -np.inf), np.full_like(gap_R, np.inf)
    for share_R in (low_R, high_R):
        np.divide(gain_R, gap_R, out=share_R, where=gap_R > 0)
    value = (distilled.value() - fine_tuned.value()) / (teacher.value() - fine_tuned.value())
    return GapClosed(gap.metric, value, _interval(low_R)[0], _interval(high_R)[1])


def same_units(one: Tally, other: Tally) -> bool:
    """Whether both are means over the same units, such as tokens; a difference of other means is meaningless."""
    return one.units_N is None or other.units_N is None or np.array_equal(one.units_N, other.units_N)


def _resampled(tally: Tally, weights_RN: IntArray) -> FloatArray:
    if weights_RN.shape[1] != len(tally.ids):
        raise EvaluationError(
            f"the resamples have weights for {weights_RN.shape[1]} examples, the tally of {tally.metric} has "
            f"{len(tally.ids)}; draw them with resample_weights({len(tally.ids)}, ...)"
        )
    return tally.scores(weights_RN)


def _difference(one: Tally, other: Tally, weights_RN: IntArray) -> FloatArray:
    """The difference in each resample, (R,); positive where `one` is better."""
    difference_R = _resampled(one, weights_RN) - _resampled(other, weights_RN)
    return difference_R if one.higher_is_better else -difference_R


def _interval(scores_R: FloatArray) -> tuple[float, float]:
    """Percentiles rounded outwards to scores that occurred, so that infinite and finite scores are never averaged."""
    return (
        float(np.quantile(scores_R, TAIL, method="lower")),
        float(np.quantile(scores_R, 1 - TAIL, method="higher")),
    )
