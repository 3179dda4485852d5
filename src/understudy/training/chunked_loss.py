"""The loss of many positions without a tensor of their number times the vocabulary.

Chunks of positions are projected to the vocabulary, and the loss and its gradient are computed for a few rows of a
chunk at a time; the gradient takes the place of the logits. Nothing is computed twice: the gradients of hidden states
and head are complete when the loss is, and the backward pass scales them. Compare Liger Kernel's chunked losses (Hsu
et al. 2024, arXiv:2410.10989), which recompute nothing either.
Axes: N target positions, C positions of a chunk, H hidden width, V vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from understudy.models.projection import Projection

LossOfRows = Callable[[Tensor, slice], Tensor]
"""Logits at some positions of a chunk, and which these are in the chunk -> the sum of the loss over them."""
LossOfChunk = Callable[[slice], LossOfRows]
"""Positions of a chunk -> the loss of its rows, with the teacher's logits of the chunk."""

WHOLE_LOGITS = 2**23
"""Up to this number of logits, 32 MiB, a batch is projected as a whole: chunks would save little, and would change the
order of sums. 2,000 tokens of vocabulary allow 4,194 positions, 32,128 allow 261."""
CHUNK_LOGITS = 2**22
MIN_CHUNK = 64
"""Positions of a chunk, at least: each chunk reads the head's weight twice and adds to its gradient."""
ROWS_LOGITS = 2**19
"""Logits of the rows for which the loss is computed at once on a CPU, whose cache they fit: an objective makes about
seven tensors of that size."""


def chunked_loss(student: Projection, loss_of_chunk: LossOfChunk) -> Tensor:
    """The sum of a loss over all positions, as if all had been projected at once.

    Args:
        student: hidden states and head; gradients flow to both, but not twice (no second backward pass).
        loss_of_chunk: called with each chunk of positions once, in their order.

    Returns:
        Scalar, float32. Equal to the loss of all positions up to the order of float sums, and so are its gradients.
    """
    loss: Tensor = _ChunkedLoss.apply(student.hidden_NH, student.head.weight, student.head.bias, student, loss_of_chunk)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return loss


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class _Context(Protocol):
    needs_input_grad: tuple[bool, ...]
    gradients: list[Tensor | None]
    """Of hidden states, weight and bias, float32."""
    dtypes: list[torch.dtype | None]


class _ChunkedLoss(torch.autograd.Function):
    """Computes the gradients with the loss."""

    @staticmethod
    def forward(
        ctx: _Context,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        student: Projection,
        loss_of_chunk: LossOfChunk,
    ) -> Tensor:
        """The loss; what needs a gradient gets one."""
        wanted = ctx.needs_input_grad[:3]
        ctx.gradients = [
            torch.zeros_like(each, dtype=torch.float32) if each is not None and needed else None
            for each, needed in zip((hidden_NH, weight_VH, bias_V), wanted, strict=True)
        ]
        ctx.dtypes = [None if each is None else each.dtype for each in (hidden_NH, weight_VH, bias_V)]
        return _accumulate(student, loss_of_chunk, ctx.gradients)

    @staticmethod
    def backward(ctx: _Context, scale: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times that of the loss, in place."""
        gradients = [
            None if each is None else each.mul_(scale).to(dtype)
            for each, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        del ctx.gradients  # the only other reference: torch then keeps the head's gradient instead of a copy
        return (*gradients, None, None)


def _accumulate(student: Projection, loss_of_chunk: LossOfChunk, gradients: list[Tensor | None]) -> Tensor:
    """Adds the gradients of all chunks to `gradients`, of hidden states, weight and bias; returns the loss."""
    hidden_NH, (weight_VH, bias_V) = student.hidden_NH.detach(), student.weights()
    positions, vocabulary = len(hidden_NH), len(weight_VH)
    total = torch.zeros((), device=hidden_NH.device)
    chunk_size = max(MIN_CHUNK, CHUNK_LOGITS // vocabulary)
    # On a GPU launching the operations of a few rows costs more than memory.
    row_size = max(1, ROWS_LOGITS // vocabulary) if hidden_NH.device.type == "cpu" else chunk_size
    buffer_CV = weight_VH.new_empty(min(chunk_size, positions), vocabulary)
    differentiate = any(each is not None for each in gradients)
    for chunk in _slices(positions, chunk_size):
        hidden_CH = hidden_NH[chunk].to(student.dtype)
        projected_CV = torch.mm(hidden_CH, weight_VH.t(), out=buffer_CV[: len(hidden_CH)])
        if bias_V is not None:
            projected_CV += bias_V
        loss_of_rows = loss_of_chunk(chunk)
        for rows in _slices(len(hidden_CH), row_size):
            with torch.set_grad_enabled(differentiate):
                part = projected_CV[rows].detach().requires_grad_(differentiate)
                loss = loss_of_rows(student.finished(part), rows)
            total += loss.detach()
            if differentiate:
                # The gradient takes the place of the logits it belongs to.
                projected_CV[rows] = torch.autograd.grad(loss, part)[0]
        _add(gradients, chunk, hidden_CH, projected_CV, weight_VH)
    return total


def _add(
    gradients: list[Tensor | None], chunk: slice, hidden_CH: Tensor, gradient_CV: Tensor, weight_VH: Tensor
) -> None:
    """Adds the gradients of one chunk, in float32: sums of many chunks in half precision would lose small ones."""
    of_hidden_NH, of_weight_VH, of_bias_V = gradients
    if of_hidden_NH is not None:
        of_hidden_NH[chunk] = gradient_CV @ weight_VH
    if of_weight_VH is not None and gradient_CV.dtype == torch.float32:
        of_weight_VH.addmm_(gradient_CV.t(), hidden_CH)  # in place: no second tensor of the head's size
    elif of_weight_VH is not None:
        of_weight_VH += gradient_CV.t() @ hidden_CH
    if of_bias_V is not None:
        of_bias_V += gradient_CV.sum(dim=0)
