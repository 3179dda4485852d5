"""How sure a score is: intervals by resampling examples, paired where systems are compared.

A resample draws as many examples as there are, with replacement. Its weights are drawn once per split
and used for every system and metric, so that two systems always meet the same examples.
Axes: N examples, R resamples.
Source: Efron & Tibshirani 1993, chapter 13; Koehn 2004 (W04-3250) for pairs.
"""

from dataclasses import dataclass

import numpy as np

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray, IntArray, Tally, require_pairs
from understudy.records import Score

TAIL = 0.025
"""Share of the resamples left out on each side: intervals hold 95 %."""


@dataclass(frozen=True, slots=True)
class Advantage:
    """By how much one system is better than another: positive is better, also where lower scores are."""

    metric: str
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """The interval does not hold zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class GapClosed:
    """The share of the way from the fine-tuned student to the teacher: 0 no way, 1 all of it."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    note: str = ""
    """Why there is no share to tell; empty where there is one."""


def resample_weights(examples: int, *, resamples: int = 1000, seed: int) -> IntArray:
    """How often each example is drawn in each resample, (R, N); every row sums to N."""
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
    """By how much one system is better than another, in the metric's unit, with its paired 95 % interval.

    Args:
        better: the system whose advantage is asked for; a negative answer says it has none.
        other: the system it is compared with, on the same examples.
        weights_RN: from `resample_weights`, the same for both.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(better, other)
    low, high = _interval(_lead(better, other, weights_RN))
    sign = 1 if better.higher_is_better else -1
    return Advantage(better.metric, sign * (better.value() - other.value()), low, high)


def gap_closed(teacher: Tally, *, fine_tuned: Tally, distilled: Tally, weights_RN: IntArray) -> GapClosed:
    """The share of the gap between teacher and fine-tuned student that distillation closes.

        share = (distilled − fine-tuned) / (teacher − fine-tuned)

    No number is given where the teacher does not clearly lead: a share of nothing means nothing. Nor where systems
    count in units of their own: per token of another tokenizer, the same likelihood is another number.

    Args:
        teacher: the upper end.
        fine_tuned: the student trained on gold targets only, the lower end.
        distilled: the student in question.
        weights_RN: from `resample_weights`, the same for all three.

    Raises:
        EvaluationError: if metric or examples differ.
    """
    require_pairs(teacher, fine_tuned, distilled)
    if any(not _same_units(teacher, student) for student in (fine_tuned, distilled)):
        note = (
            f"{teacher.metric} is a mean over tokens, and the systems cut the same targets into different ones: "
            "there is no gap between such means"
        )
        return GapClosed(teacher.metric, None, None, None, note)
    gap = advantage(teacher, fine_tuned, weights_RN)
    if gap.low <= 0:
        note = (
            f"on {gap.metric} the teacher is not clearly better than the fine-tuned student: it leads by "
            f"{gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}], and a share of such a gap means nothing"
        )
        return GapClosed(gap.metric, None, None, None, note)
    gap_R, gain_R = _lead(teacher, fine_tuned, weights_RN), _lead(distilled, fine_tuned, weights_RN)
    # Where a resample turns the gap around its share is unknown, so it counts against both ends. The gap's
    # own interval holds fewer such resamples than lie beyond either end, hence both ends stay finite.
    low_R, high_R = np.full_like(gap_R, -np.inf), np.full_like(gap_R, np.inf)
    for share_R in (low_R, high_R):
        np.divide(gain_R, gap_R, out=share_R, where=gap_R > 0)
    value = (distilled.value() - fine_tuned.value()) / (teacher.value() - fine_tuned.value())
    return GapClosed(gap.metric, value, _interval(low_R)[0], _interval(high_R)[1])


def _same_units(one: Tally, other: Tally) -> bool:
    return one.units_N is None or other.units_N is None or np.array_equal(one.units_N, other.units_N)


def _resampled(tally: Tally, weights_RN: IntArray) -> FloatArray:
    if weights_RN.shape[1] != len(tally.ids):
        raise EvaluationError(
            f"the resamples weigh {weights_RN.shape[1]} examples, the tally of {tally.metric} has "
            f"{len(tally.ids)}; draw them with resample_weights({len(tally.ids)}, ...)"
        )
    return tally.scores(weights_RN)


def _lead(one: Tally, other: Tally, weights_RN: IntArray) -> FloatArray:
    """By how much the one is better in each resample, (R,)."""
    ahead_R = _resampled(one, weights_RN) - _resampled(other, weights_RN)
    return ahead_R if one.higher_is_better else -ahead_R


def _interval(scores_R: FloatArray) -> tuple[float, float]:
    """Rounded outwards to scores that occurred, so that infinite ones are never averaged with finite ones."""
    return (
        float(np.quantile(scores_R, TAIL, method="lower")),
        float(np.quantile(scores_R, 1 - TAIL, method="higher")),
    )
