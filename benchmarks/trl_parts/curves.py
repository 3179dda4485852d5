"""Dev loss over time: when a system reached a loss, and which loss several systems have in common."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Point(NamedTuple):
    """One evaluation."""

    step: int
    seconds: float
    """Of a processor, for all that distillation needed so far; evaluations are not counted."""
    loss: float
    """Of the dev set, in nats per token."""


def seconds_to(curve: Sequence[Point], loss: float) -> float:
    """The seconds at which the line through the evaluations first reaches a loss; infinite if it never does."""
    if curve[0].loss <= loss:
        return curve[0].seconds
    for before, after in pairwise(curve):
        if after.loss <= loss < before.loss:
            share = (before.loss - loss) / (before.loss - after.loss)
            return before.seconds + share * (after.seconds - before.seconds)
    return float("inf")


def best_loss(curves: Iterable[Sequence[Point]]) -> float:
    """The lowest loss of any of these curves."""
    return min(point.loss for curve in curves for point in curve)


def common_loss(systems: Iterable[Sequence[Sequence[Point]]]) -> float:
    """The lowest loss that every system reaches with one of its curves."""
    return max(best_loss(curves) for curves in systems)


def fastest(curves: Iterable[Sequence[Point]], loss: float) -> float:
    """The fewest seconds to a loss in any of these curves."""
    return min(seconds_to(curve, loss) for curve in curves)
