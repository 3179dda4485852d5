"""The distribution over a student's tokens that a teacher's distributions over its own tokens give.

This module handles tensors and the map of the two vocabularies; it does not depend on texts or tokenizers.
Axes: N positions of the teacher's tokens, V its vocabulary, P positions of the student's, S its vocabulary and, last,
the rest.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.models.byte_prefix import BytePrefixMap
from understudy.training.byte_alignment import TokenReading

_Ints = Sequence[int] | NDArray[np.integer]


class StudentPosition(NamedTuple):
    """One token of the student in a batch of texts."""

    label: int
    """Its id."""
    reading: TokenReading
    """Places within its text."""
    before: int
    """Positions of the teacher before its text."""
    is_target: bool
    """Whether the label is learned where the teacher's distribution is unknown."""


class _Step(NamedTuple):
    """A distribution of the teacher that contributes to a position of the student."""

    position: int
    row: int
    scale: float


def student_mass(
    logits_NV: Tensor, teacher_ids_N: NDArray[np.integer], positions: Sequence[StudentPosition], tokens: BytePrefixMap
) -> Tensor:
    """The teacher's probability of each of the student's tokens.

        p(s) = Σ p(c) over the continuations c whose longest student token, by bytes, is s

    The continuations of a text from where a student token begins are the teacher's tokens there. If the text's own one
    ends before the student's token, it is replaced by itself followed by each of the tokens after it, and so on. If it
    begins before, only tokens with the bytes in between are possible, and they are divided by their sum. What continues
    with the text as far as the student's token ends becomes that token.

    Args:
        logits_NV: the teacher's, any float type.
        teacher_ids_N: the text's own tokens at these positions.
        positions: the student's.
        tokens: the map of the two vocabularies.

    Returns:
        Probabilities, float32, PS; each row adds up to 1. Where the teacher's distribution is unknown, all of it is the
        label's, or, where the label is no target, the rest's, so that no divergence has a gradient there.
    """
    others_NV = logits_NV.float().softmax(dim=-1)
    ids_N1 = _indices(others_NV, teacher_ids_N)[:, None]
    own_N = others_NV.gather(1, ids_N1)[:, 0]
    others_NV.scatter_(1, ids_N1, 0.0)
    mass_PS = others_NV.new_zeros(len(positions), tokens.rest + 1)
    surfaces = [tokens.teacher[token_id] or b"" for token_id in teacher_ids_N.tolist()]
    scales = _add_within(mass_PS, others_NV, own_N, _within(positions, surfaces), tokens)
    steps, text = _following(own_N.tolist(), surfaces, positions, scales)
    _add_following(mass_PS, others_NV, steps, tokens)
    columns = [
        one.label if mass is not None or one.is_target else tokens.rest
        for one, mass in zip(positions, text, strict=True)
    ]
    text_P = mass_PS.new_tensor([1.0 if mass is None else mass for mass in text])
    mass_PS[_indices(mass_PS, range(len(positions))), _indices(mass_PS, columns)] += text_P
    return mass_PS


def _within(positions: Sequence[StudentPosition], surfaces: Sequence[bytes]) -> dict[bytes, list[_Step]]:
    """The student's tokens that begin within one of the teacher's, by the bytes of it that come before."""
    steps: defaultdict[bytes, list[_Step]] = defaultdict(list)
    for index, (_, reading, before, _) in enumerate(positions):
        if reading.consumed:
            row = before + reading.first
            steps[surfaces[row][: reading.consumed]].append(_Step(index, row, 1.0))
    return steps


def _add_within(
    mass_PS: Tensor, others_NV: Tensor, own_N: Tensor, steps: Mapping[bytes, Sequence[_Step]], tokens: BytePrefixMap
) -> dict[int, float]:
    """Adds the tokens that are possible there; position -> 1 / their probability, 0 where that is 0."""
    scales: dict[int, float] = {}
    for consumed, own in steps.items():
        moves = tokens.within(consumed)
        rows_R = _indices(mass_PS, [one.row for one in own])
        possible_RM = others_NV[rows_R[:, None], _indices(mass_PS, moves.teacher_ids)]
        total_R = possible_RM.sum(dim=1) + own_N[rows_R]
        scale_R = torch.where(total_R > 0, 1 / total_R, 0.0)
        _add(mass_PS, own, moves.student_ids, possible_RM * scale_R[:, None])
        scales |= dict(zip([one.position for one in own], scale_R.tolist(), strict=True))
    return scales


def _following(
    own: Sequence[float], surfaces: Sequence[bytes], positions: Sequence[StudentPosition], scales: Mapping[int, float]
) -> tuple[dict[bytes, list[_Step]], list[float | None]]:
    """All other contributions, by the bytes of the student's token before them, and the probability of the text.

    The latter is None where the teacher's distribution is unknown.
    """
    steps: defaultdict[bytes, list[_Step]] = defaultdict(list)
    text = list[float | None]()
    for index, (_, reading, before, _) in enumerate(positions):
        mass, written = scales.get(index, 1.0), b" " if reading.led else b""
        if reading.kind == "text" or mass == 0:
            text.append(None)
            continue
        first = before + reading.first
        for row in range(first, before + reading.last + 1):
            consumed = reading.consumed if row == first else 0
            if not consumed:
                steps[written].append(_Step(index, row, mass))
            mass *= own[row]
            written += surfaces[row][consumed:]
        text.append(mass)
    return steps, text


def _add_following(
    mass_PS: Tensor, others_NV: Tensor, steps: Mapping[bytes, Sequence[_Step]], tokens: BytePrefixMap
) -> None:
    """Adds the teacher's tokens that begin with the student's, or follow the first bytes of it."""
    all_N = others_NV.sum(dim=1)
    for written, own in steps.items():
        rows_R = _indices(mass_PS, [one.row for one in own])
        if not written:  # the beginning of a token of both, whose scale is 1
            whole_V = _indices(mass_PS, tokens.whole)
            moved_RS = mass_PS.new_zeros(len(own), mass_PS.shape[1]).index_add_(1, whole_V, others_NV[rows_R])
            mass_PS[_indices(mass_PS, [one.position for one in own])] += moved_RS
            continue
        scale_R = mass_PS.new_tensor([one.scale for one in own])
        moves = tokens.following(written)
        moved_RM = others_NV[rows_R[:, None], _indices(mass_PS, moves.teacher_ids)] * scale_R[:, None]
        _add(mass_PS, own, moves.student_ids, moved_RM)
        left_R = (all_N[rows_R] * scale_R - moved_RM.sum(dim=1)).clamp(min=0)
        _add(mass_PS, own, [moves.others], left_R[:, None])


def _add(mass_PS: Tensor, steps: Sequence[_Step], student_ids: _Ints, moved_RM: Tensor) -> None:
    """Adds the columns of `moved_RM` to those of the student's ids, in the rows of the steps' positions."""
    places_R = _indices(mass_PS, [one.position for one in steps])
    flat = (places_R[:, None] * mass_PS.shape[1] + _indices(mass_PS, student_ids)).flatten()
    mass_PS.view(-1).index_add_(0, flat, moved_RM.flatten())


def _indices(like: Tensor, values: _Ints) -> Tensor:
    """Whole numbers as a tensor on the device of another."""
    return torch.as_tensor(np.asarray(values, np.int64), device=like.device)
