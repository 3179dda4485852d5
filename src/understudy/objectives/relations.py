"""Attention relations: similarities between the positions of a text, compared between teacher and student.

Relations are computed within one network, so the two may differ in width. This module handles tensors; the caller
chooses the states and the mask.
Axes: B examples, T positions, W width of a network's states, A heads, D width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import ObjectiveError


def relation_kl(student_BTW: Tensor, teacher_BTW: Tensor, mask_BT: Tensor, *, heads: int, causal: bool) -> Tensor:
    """KL divergence of the student's relations from the teacher's, averaged over heads and rows of each example.

        r(a, i) = softmaxⱼ(xₐᵢ · xₐⱼ / √D),  L = 1/(A·n) · Σₐ Σᵢ KL(r_teacher(a, i) || r_student(a, i))

    where i runs over the n true positions, and j over the true positions and, if causal, only up to i.

    Args:
        student_BTW: queries, keys, values or hidden states, any float type. Where the mask is false any value is
            allowed, also nan.
        teacher_BTW: the same for the teacher, possibly of another width; no gradient is taken.
        mask_BT: bool, true at positions that hold a token.
        heads: number of relations that each tensor is split into along its width; the teacher's number of heads.
        causal: whether a position is related only to itself and earlier ones.

    Returns:
        One value for each of the B examples, float32, in nats; 0 where no position is true.

    Raises:
        ObjectiveError: if `heads` does not divide both widths, or examples or positions differ.

    Source: Wang et al. 2021, section 3 (arXiv:2012.15828, "MiniLMv2").
    """
    _refuse_other_positions(student_BTW, teacher_BTW, mask_BT)
    _refuse_other_heads(student_BTW.shape[-1], teacher_BTW.shape[-1], heads)
    related_BTT = mask_BT[:, None, :].expand(-1, mask_BT.shape[1], -1)
    if causal:
        related_BTT = related_BTT.tril()
    student_logp_BATT = _relations(student_BTW, mask_BT, related_BTT, heads)
    teacher_logp_BATT = _relations(teacher_BTW.detach(), mask_BT, related_BTT, heads)
    terms_BATT = F.kl_div(student_logp_BATT, teacher_logp_BATT, log_target=True, reduction="none")
    # Sum over related columns only: a masked row may have none, and its value is ignored below.
    rows_BT = terms_BATT.masked_fill(~related_BTT[:, None], 0.0).sum(dim=-1).mean(dim=1)
    return rows_BT.masked_fill(~mask_BT, 0.0).sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)


def _relations(states_BTW: Tensor, mask_BT: Tensor, related_BTT: Tensor, heads: int) -> Tensor:
    """Log-relations BATT, float32; values at unrelated columns are undefined."""
    # Fill before the product: nan at padding would survive a later mask as a nan gradient.
    states_BTW = states_BTW.masked_fill(~mask_BT[..., None], 0.0).float()
    states_BATD = states_BTW.reshape(*mask_BT.shape, heads, states_BTW.shape[-1] // heads).transpose(1, 2)
    # Mixed precision would compute the product in bfloat16, whatever the type of the states.
    with torch.autocast(states_BTW.device.type, enabled=False):
        scores_BATT = states_BATD @ states_BATD.mT / math.sqrt(states_BATD.shape[-1])
    # The lowest number, not minus infinity: a row without columns would be nan.
    lowest = torch.finfo(scores_BATT.dtype).min
    return F.log_softmax(scores_BATT.masked_fill(~related_BTT[:, None], lowest), dim=-1)


def _refuse_other_positions(student_BTW: Tensor, teacher_BTW: Tensor, mask_BT: Tensor) -> None:
    if not student_BTW.shape[:-1] == teacher_BTW.shape[:-1] == mask_BT.shape:
        raise ObjectiveError(
            f"relation_kl compares the same positions of both networks, got student states "
            f"{tuple(student_BTW.shape)}, teacher states {tuple(teacher_BTW.shape)} and a mask "
            f"{tuple(mask_BT.shape)}; use a student with the teacher's tokenizer"
        )


def _refuse_other_heads(student_width: int, teacher_width: int, heads: int) -> None:
    shared = math.gcd(student_width, teacher_width)
    if heads < 1 or shared % heads:
        possible = [str(count) for count in range(1, shared + 1) if shared % count == 0]
        raise ObjectiveError(
            f"relation_kl was requested with {heads} heads, got states of width {student_width} of the student and "
            f"{teacher_width} of the teacher; use a number that divides both: {', '.join(possible)}"
        )
