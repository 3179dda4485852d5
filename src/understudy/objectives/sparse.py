"""Distributions over the teacher's top-k tokens and one bucket for all others, from sparse teacher log-probabilities.

This module turns logits and top-k log-probabilities into two small distributions. Any divergence can compare them.
Axes: N selected target positions, V vocabulary, K kept tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import ObjectiveError

# An empty bucket gets e⁻⁵⁰ of the best token instead of zero: log 0 is minus infinity, and its gradient nan.
_NOTHING = -50.0
# An absent entry is e⁻¹⁰⁰⁰⁰ on both sides: zero in float32, also at temperature 100, where e⁻⁵⁰ would be 0.6.
_ABSENT = -10_000.0
# A rest below float32's precision is the rounding error of 1 - Σ, and it may be negative.
_SMALLEST_REST = torch.finfo(torch.float32).eps


def bucketed(student_logits_NV: Tensor, top_ids_NK: Tensor, top_logp_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the kept tokens and, last, of all others together, if any, for student and teacher.

        log q'ₖ = log q(idₖ),  log q'_rest = log Σ q(v) over all v that are not kept;  the same for p

    Both are distributions over K + 1 buckets, so every objective accepts them as logits. If the last bucket holds one
    token, the values are exact. Otherwise KL, JSD, TVD and the skew divergences at temperature 1 are at most those of
    the whole vocabulary; a temperature and TAID act on buckets.

    A row that keeps fewer than K tokens has minus infinity for the others. Their buckets are empty on both sides and
    take no gradient; the token ids at these entries belong to the rest.

    Args:
        student_logits_NV: any float type.
        top_ids_NK: int64, the tokens kept of the teacher's distribution, each once in its row.
        top_logp_NK: the teacher's log-probabilities of these tokens among all V, in nats; minus infinity where the
            entry is absent; no gradient is taken.

    Returns:
        Student's and teacher's log-probabilities, both N x (K + 1), float32, in nats. The student's rest is summed
        over the tokens themselves and takes a gradient; the teacher's is 1 - Σ, at least 1.2e-7.

    Raises:
        ObjectiveError: if ids and log-probabilities differ in shape, or positions in number, or more tokens are kept
            than there are.

    Source: compare Anshumann et al. 2025 (arXiv:2503.16870). The last bucket prevents the student from moving all mass
        to the kept tokens, which is what renormalising them would train it to do.
    """
    _refuse_other_shapes(student_logits_NV, top_ids_NK, top_logp_NK)
    student_logits_NV, teacher_logp_NK = student_logits_NV.float(), top_logp_NK.detach().float()
    kept_NK = student_logits_NV.gather(-1, top_ids_NK)
    present_NK = teacher_logp_NK > -torch.inf
    if kept_NK.shape == student_logits_NV.shape and bool(present_NK.all()):
        # No token is left over, and rounding in half precision must not create a rest.
        return F.log_softmax(kept_NK, dim=-1), F.log_softmax(teacher_logp_NK, dim=-1)
    best_N1 = student_logits_NV.detach().amax(dim=-1, keepdim=True)
    # Not log(1 - Σ kept): in float32 a rest below 1e-7 would vanish, and with it the gradient. One pass over the
    # vocabulary suffices: the normaliser is the sum of the kept tokens and the rest.
    taken_NK = torch.where(present_NK, best_N1 + _NOTHING, kept_NK)
    rest_N = student_logits_NV.scatter(-1, top_ids_NK, taken_NK).logsumexp(dim=-1)
    kept_NK = torch.where(present_NK, kept_NK, best_N1 + _ABSENT)
    student_log_NJ = F.log_softmax(torch.cat([kept_NK, rest_N[:, None]], dim=-1), dim=-1)
    teacher_rest_N = (1 - teacher_logp_NK.exp().sum(dim=-1)).clamp(min=_SMALLEST_REST).log()
    return student_log_NJ, torch.cat([teacher_logp_NK.clamp(min=_ABSENT), teacher_rest_N[:, None]], dim=-1)


def _refuse_other_shapes(student_logits_NV: Tensor, top_ids_NK: Tensor, top_logp_NK: Tensor) -> None:
    positions, vocabulary = student_logits_NV.shape
    if top_ids_NK.shape != top_logp_NK.shape or len(top_ids_NK) != positions or top_ids_NK.shape[1] > vocabulary:
        raise ObjectiveError(
            f"bucketed needs the kept ids and log-probabilities of each position, got student logits "
            f"{tuple(student_logits_NV.shape)}, ids {tuple(top_ids_NK.shape)} and log-probabilities "
            f"{tuple(top_logp_NK.shape)}; select all three with the same target mask"
        )
