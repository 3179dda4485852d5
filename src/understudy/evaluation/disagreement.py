"""How far apart teacher and student are at every position of a text, and how sure the teacher is there.

The networks are functions from a batch to logits, as in `likelihood`; who wrote the texts does not matter here.
Axes: T tokens of a text, B texts of a batch, S sources, L source positions, N tokens of a batch, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.errors import EvaluationError
from understudy.evaluation.likelihood import TargetLogits
from understudy.evaluation.tally import FloatArray
from understudy.models.forward import padded
from understudy.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One text as teacher and student read it, in nats; value t belongs to the prefix before token t."""

    kl_T: FloatArray
    """KL(p || q) of the student q from the teacher p."""
    entropy_T: FloatArray
    """The teacher's."""


def read_texts(
    teacher: TargetLogits,
    student: TargetLogits,
    *,
    teacher_sources: Sequence[Sequence[int]],
    student_sources: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    vocabulary: int,
    batch_size: int = 16,
    device: str = "cpu",
    advance: ProgressCallback = NO_PROGRESS,
) -> list[Reading]:
    """Both networks read the same texts; one pass of each.

        KL_t = Σᵥ p(v | y₍<t₎, x) · (log p(v | y₍<t₎, x) − log q(v | y₍<t₎, x)),
        H_t  = −Σᵥ p(v | y₍<t₎, x) · log p(v | y₍<t₎, x)

    Args:
        teacher: in evaluation mode, bound to its `target_logits` function.
        student: the same; its token ids are the teacher's.
        teacher_sources: token ids of each text's source, as the teacher reads it.
        student_sources: the same sources as the student reads them.
        texts: token ids without a start token, none of them empty.
        vocabulary: tokens there are; embeddings may be padded to more rows, which are cut off.
        batch_size: texts of similar length per call; changes speed and memory, not the values.
        device: where the batches go.
        advance: told how many more texts are read.

    Raises:
        EvaluationError: if the lists differ in length or are empty, or a text is empty.
    """
    _require_texts(teacher_sources, student_sources, texts)
    readings: list[Reading | None] = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), len(teacher_sources[index])))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        own = [texts[index] for index in chosen]
        logp_NV = _logp(teacher, [teacher_sources[index] for index in chosen], own, vocabulary, device)
        logq_NV = _logp(student, [student_sources[index] for index in chosen], own, vocabulary, device)
        p_NV = logp_NV.exp()
        kl_N, entropy_N = (p_NV * (logp_NV - logq_NV)).sum(dim=-1), -(p_NV * logp_NV).sum(dim=-1)
        ends = np.cumsum([len(text) for text in own])[:-1]
        pieces = zip(np.split(_floats(kl_N), ends), np.split(_floats(entropy_N), ends), strict=True)
        for index, (kl_T, entropy_T) in zip(chosen, pieces, strict=True):
            readings[index] = Reading(kl_T, entropy_T)
        advance(len(chosen))
    return [reading for reading in readings if reading is not None]


def _logp(
    network: TargetLogits,
    sources: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    vocabulary: int,
    device: str,
) -> Tensor:
    """Log-probabilities NV in float32: near -10, bfloat16 rounds them to steps of 1/16."""
    source_ids_SL, source_mask_SL = (ids.to(device) for ids in padded(sources))
    target_ids_BT, target_mask_BT = (ids.to(device) for ids in padded(texts))
    with torch.inference_mode():
        logits_NV = network(
            source_ids_SL=source_ids_SL,
            source_mask_SL=source_mask_SL,
            source_of_B=torch.arange(len(texts), device=device),
            target_ids_BT=target_ids_BT,
            target_mask_BT=target_mask_BT,
        )
        return logits_NV[:, :vocabulary].float().log_softmax(dim=-1)


def _floats(values_N: Tensor) -> FloatArray:
    return np.asarray(values_N.double().cpu().numpy(), dtype=np.float64)


def _require_texts(
    teacher_sources: Sequence[Sequence[int]], student_sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
) -> None:
    if not len(teacher_sources) == len(student_sources) == len(texts) > 0:
        raise EvaluationError(
            f"teacher and student read one source per text, got {len(teacher_sources)} sources for the teacher, "
            f"{len(student_sources)} for the student and {len(texts)} texts; give three lists of one length, at least 1"
        )
    if empty := sum(not text for text in texts):
        raise EvaluationError(
            f"teacher and student are compared at the tokens of a text, and {empty} of {len(texts)} texts have none; "
            "leave these out"
        )
