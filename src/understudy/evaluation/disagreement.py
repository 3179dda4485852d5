"""Divergence of the student from the teacher and the teacher's entropy, at every position of given texts.

The networks are functions from a batch to logits, as in `likelihood`; the texts may come from any source.
Axes: T tokens of a text, B texts of a batch, S sources, L source positions, N tokens of a batch, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from understudy.errors import EvaluationError
from understudy.evaluation.likelihood import TargetLogitsFunction, logits_at_targets
from understudy.evaluation.tally import FloatArray
from understudy.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """Divergence and entropy along one text, in nats; value t belongs to the prefix before token t."""

    kl_T: FloatArray
    """KL(p || q) of the student q from the teacher p."""
    entropy_T: FloatArray
    """Entropy of the teacher p."""


def measure_disagreement(
    teacher: TargetLogitsFunction,
    student: TargetLogitsFunction,
    *,
    teacher_sources: Sequence[Sequence[int]],
    student_sources: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    vocabulary: int,
    batch_size: int = 16,
    device: str = "cpu",
    progress: ProgressCallback = NO_PROGRESS,
) -> list[Disagreement]:
    """Divergence and entropy along each text, from one forward pass of each network.

        KL_t = Σᵥ p(v | y₍<t₎, x) · (log p(v | y₍<t₎, x) − log q(v | y₍<t₎, x)),
        H_t  = −Σᵥ p(v | y₍<t₎, x) · log p(v | y₍<t₎, x)

    Args:
        teacher: in evaluation mode, bound to its `target_logits` function.
        student: the same; its token ids are the teacher's.
        teacher_sources: token ids of each text's source, as the teacher's tokenizer and prompt give them.
        student_sources: the same sources for the student.
        texts: token ids without a start token, none of them empty.
        vocabulary: size of the tokenizer's vocabulary; padded rows of the embeddings beyond it are ignored.
        batch_size: texts of similar length per call; changes speed and memory, not the values.
        device: of the batches.
        progress: called with the number of texts of each finished batch.

    Raises:
        EvaluationError: if the lists differ in length or are empty, or a text is empty.
    """
    _require_texts(teacher_sources, student_sources, texts)
    measured: dict[int, Disagreement] = {}
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), len(teacher_sources[index])))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        own = [texts[index] for index in chosen]
        logp_NV, logq_NV = (
            # In float32: near -10, bfloat16 rounds a log-probability to steps of 1/16.
            logits_at_targets(network, [sources[index] for index in chosen], own, device)[:, :vocabulary]
            .float()
            .log_softmax(dim=-1)
            for network, sources in ((teacher, teacher_sources), (student, student_sources))
        )
        p_NV = logp_NV.exp()
        kl_N, entropy_N = (p_NV * (logp_NV - logq_NV)).sum(dim=-1), -(p_NV * logp_NV).sum(dim=-1)
        ends = np.cumsum([len(text) for text in own])[:-1]
        by_text = zip(np.split(_floats(kl_N), ends), np.split(_floats(entropy_N), ends), strict=True)
        for index, (kl_T, entropy_T) in zip(chosen, by_text, strict=True):
            measured[index] = Disagreement(kl_T, entropy_T)
        progress(len(chosen))
    return [measured[index] for index in range(len(texts))]


def _floats(values_N: Tensor) -> FloatArray:
    return np.asarray(values_N.double().cpu().numpy(), dtype=np.float64)


def _require_texts(
    teacher_sources: Sequence[Sequence[int]], student_sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
) -> None:
    if not len(teacher_sources) == len(student_sources) == len(texts) > 0:
        raise EvaluationError(
            f"teacher and student need one source per text, got {len(teacher_sources)} sources for the teacher, "
            f"{len(student_sources)} for the student and {len(texts)} texts; give three lists of one length, at least 1"
        )
    if empty := sum(not text for text in texts):
        raise EvaluationError(
            f"teacher and student are compared at the tokens of a text, and {empty} of {len(texts)} texts have none; "
            "leave these out"
        )
