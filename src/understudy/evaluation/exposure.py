"""Exposure bias: how much worse the student imitates the teacher on its own prefixes than on the teacher's.

Computed from the divergences that `disagreement` measures. This module does not depend on networks.
Axes: N sources, L positions, R resamples, T tokens of a text.
Source: Arora et al. 2022 (arXiv:2204.01171), section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.errors import EvaluationError
from understudy.evaluation.bootstrap import TAIL
from understudy.evaluation.tally import FloatArray, IntArray

MIN_SHARE = 0.25
"""The curve ends where fewer than this share of either model's texts continue: a mean over few texts is noise."""

TokenDivergences = Sequence[Sequence[FloatArray]]
"""For each source its texts; each text as the divergence in nats at each of its tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class ExposureCurve:
    """The excess accumulated error up to each length 1..L, in percent, with 95 % intervals, and its two parts."""

    excess_L: FloatArray
    low_L: FloatArray
    high_L: FloatArray
    on_student_L: FloatArray
    """Mean divergence at each position of the student's texts, in nats."""
    on_teacher_L: FloatArray
    """The same for the teacher's texts."""


def exposure_curve(
    on_student: TokenDivergences, on_teacher: TokenDivergences, weights_RN: IntArray, *, min_share: float = MIN_SHARE
) -> ExposureCurve:
    """The excess accumulated error of a student, as a curve over the length.

        R(l) = Σ_{t≤l} E_{prefix ~ q} KL(p || q),   l·ε(l) = Σ_{t≤l} E_{prefix ~ p} KL(p || q)
        ExAccErr(l) = 100 · (R(l) − l·ε(l)) / (l·ε(l))

    At 0 the student's own prefixes cause no extra error, at 100 twice the error. It is negative where the student's
    prefixes are easier than the teacher's, and 0 where student and teacher are the same network.

    The expectation at position t is over prefixes that exist: the mean over the texts that have a token t (the
    end-of-sequence token is one). A text that ended earlier is left out; it does not count as a prefix without error.
    A resample without any such text uses the mean over all texts.

    Args:
        on_student: divergences on texts sampled from the student at temperature 1 without top-k or top-p truncation,
            at least one text per source.
        on_teacher: the same on texts sampled from the teacher, for the same sources in the same order.
        weights_RN: how often each source is drawn in each resample, from `resample_weights`.
        min_share: share of both models' texts that must have a position for the curve to include it.

    Raises:
        EvaluationError: if there are no sources, or the three arguments have different ones.
    """
    sources = weights_RN.shape[1]
    if not len(on_student) == len(on_teacher) == sources > 0:
        raise EvaluationError(
            f"exposure bias compares the student's and the teacher's texts for the same sources, got {len(on_student)} "
            f"and {len(on_teacher)} sources and resamples of {sources}; give all three the same sources, at least 1"
        )
    length = min(_length(texts, min_share) for texts in (on_student, on_teacher))
    with_all_RN = np.concatenate([np.ones((1, sources), dtype=np.int64), weights_RN])
    student_RL, teacher_RL = (_means(texts, with_all_RN, length) for texts in (on_student, on_teacher))
    accumulated_RL, expected_RL = student_RL.cumsum(axis=1), teacher_RL.cumsum(axis=1)
    excess_RL = np.zeros_like(accumulated_RL)
    np.divide(100 * (accumulated_RL - expected_RL), expected_RL, out=excess_RL, where=expected_RL > 0)
    return ExposureCurve(
        excess_L=excess_RL[0],
        low_L=np.quantile(excess_RL[1:], TAIL, axis=0, method="lower"),
        high_L=np.quantile(excess_RL[1:], 1 - TAIL, axis=0, method="higher"),
        on_student_L=student_RL[0],
        on_teacher_L=teacher_RL[0],
    )


def mean_by_position(texts: TokenDivergences, *, min_share: float = MIN_SHARE) -> FloatArray:
    """The mean over texts of the values at each position, (L,), up to the last position that enough texts have."""
    weights_RN = np.ones((1, len(texts)), dtype=np.int64)
    mean_L: FloatArray = _means(texts, weights_RN, _length(texts, min_share))[0]
    return mean_L


def _length(texts: TokenDivergences, min_share: float) -> int:
    """The last position that enough texts have."""
    lengths = sorted((len(text) for of_source in texts for text in of_source), reverse=True)
    return lengths[max(1, int(np.ceil(min_share * len(lengths)))) - 1]


def _means(texts: TokenDivergences, weights_RN: IntArray, length: int) -> FloatArray:
    """The mean at each position over the texts that have it, for each resample, (R, L)."""
    sums_NL, counts_NL = np.zeros((len(texts), length)), np.zeros((len(texts), length))
    for sums_L, counts_L, of_source in zip(sums_NL, counts_NL, texts, strict=True):
        for text_T in of_source:
            included_T = text_T[:length]
            sums_L[: len(included_T)] += included_T
            counts_L[: len(included_T)] += 1
    drawn_RL = weights_RN @ counts_NL
    of_all_RL = np.repeat((sums_NL.sum(axis=0) / counts_NL.sum(axis=0))[None], len(weights_RN), axis=0)
    means_RL: FloatArray = np.divide(weights_RN @ sums_NL, drawn_RL, out=of_all_RL, where=drawn_RL > 0)
    return means_RL
