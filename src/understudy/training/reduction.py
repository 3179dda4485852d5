"""What the ranks exchange in a stage that all make: gradients, losses, log-probabilities, what one rank computes.

Each rank holds all weights and computes the gradient of its share of every micro-batch. The sum over the ranks is the
gradient of the whole step, because each loss is divided by the positions of the whole step. All ranks then make the
same update, so weights are sent once, before the first step. With one rank nothing is sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from understudy.errors import TrainingError, first_line
from understudy.ranks import Ranks

T = TypeVar("T")


def sum_over_ranks(parameters: Iterable[nn.Parameter], loss: float, ranks: Ranks) -> float:
    """Sums the gradients over all ranks in place, and returns the sum of the losses.

    A parameter without a gradient on any rank stays without one: zeros would make the optimizer decay its weight.

    Args:
        parameters: those that are trained, in the same order on all ranks.
        loss: of this rank, in nats.
        ranks: of the training.

    Raises:
        TrainingError: if another rank has ended.
    """
    if ranks.size == 1:
        return loss
    trained = list(parameters)
    counts = torch.tensor([loss, *(p.grad is not None for p in trained)], dtype=torch.float64)
    counts = counts.to(trained[0].device)
    with _other_ranks():
        dist.all_reduce(counts)
        used = [p for p, count in zip(trained, counts[1:].tolist(), strict=True) if count]
        _sum_gradients(used)
    return float(counts[0])


def _sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """One message for all gradients: hundreds of small ones would cost their latency each."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def send_weights(model: nn.Module, ranks: Ranks) -> None:
    """Gives all ranks the weights of rank 0."""
    if ranks.size == 1:
        return
    with _other_ranks(), torch.no_grad():
        for tensor in model.state_dict().values():
            _send(tensor)


def _send(tensor: Tensor) -> None:
    contiguous = tensor.contiguous()
    dist.broadcast(contiguous, src=0)
    if contiguous.data_ptr() != tensor.data_ptr():
        tensor.copy_(contiguous)


def from_first(value: T, ranks: Ranks) -> T:
    """The value of rank 0, on every rank."""
    if ranks.size == 1:
        return value
    values = [value]
    with _other_ranks():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def from_all(value: T, ranks: Ranks) -> list[T]:
    """The values of all ranks in their order, on every rank."""
    values = [value] * ranks.size
    with _other_ranks():
        dist.all_gather_object(values, value)
    return values


def to_first(value: T, sender: int, ranks: Ranks) -> T:
    """The value of rank `sender` on that rank and on rank 0, and on every other rank its own."""
    values = [value]
    with _other_ranks():
        if ranks.rank == sender:
            dist.send_object_list(values, dst=0)
        elif ranks.is_first:
            dist.recv_object_list(values, src=sender)
    return values[0]


def wait_for_all(ranks: Ranks) -> None:
    """Returns when every rank has come this far."""
    if ranks.size > 1:
        with _other_ranks():
            dist.all_reduce(torch.zeros(1))  # a barrier; that of NCCL needs to be given the device


@contextmanager
def _other_ranks() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo or NCCL: a connection that was closed; advice for programmers follows
        raise TrainingError(
            f"another rank has ended ({first_line(error).split('. ')[0]}); run the same command again to resume"
        ) from None
