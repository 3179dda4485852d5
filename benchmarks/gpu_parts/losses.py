"""Losses from a teacher's logits and from cached log-probabilities, and the memory and time that they take.

Axes: N target positions, C those of a chunk, R rows of it, V vocabulary, H hidden width, K kept tokens.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.gpu_parts.networks import Facts, Sizes, objectives_module, seconds
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.models.forward import target_logits
from understudy.models.projection import Projection, projection
from understudy.training.chunked_loss import LossOfChunk, LossOfRows, chunked_loss

KEPT = 32
"""Tokens of a teacher's distribution that are cached."""


def joint_teaching_loss(
    student: PreTrainedModel, teacher: PreTrainedModel, inputs: dict[str, Tensor], *, in_chunks: bool = False
) -> Tensor:
    """The mean over positions of the KL from a teacher's logits and from its cached log-probabilities.

    In chunks as training computes it, or from all logits as their definitions say.
    """
    forward_kl, bucketed = objectives_module("divergences").forward_kl, objectives_module("sparse").bucketed
    with torch.no_grad():
        teacher_NV = target_logits(teacher, **inputs)
    kept = kept_logprobs(teacher_NV)

    def of_rows(logits_RV: Tensor, teacher_RV: Tensor, kept_R: tuple[Tensor, ...]) -> Tensor:
        loss: Tensor = forward_kl(logits_RV, teacher_RV) + forward_kl(*bucketed(logits_RV, *kept_R))
        return loss

    def of_chunk(chunk: slice) -> LossOfRows:
        teacher_CV, kept_C = teacher_NV[chunk], [one[chunk] for one in kept]
        return lambda logits_RV, rows: of_rows(logits_RV, teacher_CV[rows], tuple(one[rows] for one in kept_C))

    if in_chunks:
        return chunked_loss(projection(student, **inputs), of_chunk) / len(teacher_NV)
    return of_rows(target_logits(student, **inputs), teacher_NV, kept) / len(teacher_NV)


def kept_logprobs(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities, both NK, as a cache has them."""
    logp_NK, ids_NK = logits_NV.float().log_softmax(dim=-1).topk(min(KEPT, logits_NV.shape[1]), dim=-1)
    return ids_NK, logp_NK


def cached_loss(kept: tuple[Tensor, ...]) -> LossOfChunk:
    """Forward KL from cached log-probabilities, by chunks."""
    forward_kl, bucketed = objectives_module("divergences").forward_kl, objectives_module("sparse").bucketed

    def of_chunk(chunk: slice) -> LossOfRows:
        own = [one[chunk] for one in kept]
        return lambda logits_RV, rows: forward_kl(*bucketed(logits_RV, *(one[rows] for one in own)))

    return of_chunk


def _naive(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    student_logp_NV = head(hidden_NH).float().log_softmax(-1)
    return F.kl_div(student_logp_NV, teacher_NV.float().log_softmax(-1), log_target=True, reduction="sum")


def _dense(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    forward_kl = objectives_module("divergences").forward_kl

    def of_chunk(chunk: slice) -> LossOfRows:
        teacher_CV = teacher_NV[chunk]
        return lambda logits_RV, rows: forward_kl(logits_RV, teacher_CV[rows])

    return chunked_loss(Projection(hidden_NH, head, head.weight.dtype), of_chunk)


def _sparse(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    # Any log-probabilities: finding the best of all logits would need the memory that a cache saves.
    ids_NK = torch.arange(KEPT, device=teacher_NV.device).expand(len(teacher_NV), KEPT)
    kept = (ids_NK, teacher_NV[:, :KEPT].log_softmax(-1) - 0.1)
    return chunked_loss(Projection(hidden_NH, head, head.weight.dtype), cached_loss(kept))


LOSSES: dict[str, Callable[[Tensor, nn.Linear, Tensor], Tensor]] = {
    "torch kl_div": _naive,
    "understudy": _dense,
    f"understudy, {KEPT} kept tokens": _sparse,
}


def loss_memory(device: str, sizes: Sizes) -> list[Facts]:
    """Peak memory beyond the inputs and the head's gradient, and time, of head and loss forwards and backwards."""
    return [
        {"loss": name, "vocabulary": vocabulary, "positions": positions}
        | _loss_cost(LOSSES[name], device, vocabulary, positions, sizes.width)
        for vocabulary in sizes.vocabularies
        for positions in sizes.positions
        for name in LOSSES
    ]


def _loss_cost(
    loss: Callable[[Tensor, nn.Linear, Tensor], Tensor], device: str, vocabulary: int, positions: int, width: int
) -> Facts:
    torch.manual_seed(0)
    hidden_NH = torch.randn(positions, width, device=device, requires_grad=True)
    head = nn.Linear(width, vocabulary, bias=False, device=device)
    teacher_NV = torch.randn(positions, vocabulary, device=device)

    def work() -> None:
        hidden_NH.grad = head.weight.grad = None
        loss(hidden_NH, head, teacher_NV).backward()  # type: ignore[no-untyped-call]

    try:
        work()
        peak_mib = None
        if device == "cuda":
            hidden_NH.grad = head.weight.grad = None
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            own = head.weight.numel() * head.weight.element_size()
            peak_mib = (torch.cuda.max_memory_allocated() - before - own) / 2**20
        return {"peak_mib": peak_mib, "seconds": seconds(work, device, repeats=3)}
    except torch.OutOfMemoryError:
        return {"peak_mib": None, "seconds": None, "error": "out of memory"}
