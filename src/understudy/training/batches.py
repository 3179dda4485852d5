"""Micro-batches limited by padded tokens, bucketed by length, and their tensors.

Axes: S sources, L source positions, B targets (B >= S), T target positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from understudy.models.forward import padded
from understudy.pool.token_arrays import Ints, TokenArrays, offsets_of
from understudy.records import TextGenerator
from understudy.training.items import TrainItem, TrainItems

BUCKET = 64
"""Micro-batches sorted by length together: large enough for little padding, small enough to stay random."""


@dataclass(frozen=True)
class Batch:
    """Tensors of one micro-batch; masks are true at tokens, false at padding."""

    source_ids_SL: Tensor
    source_mask_SL: Tensor
    source_of_B: Tensor
    """The row of each target's source."""
    target_ids_BT: Tensor
    target_mask_BT: Tensor

    def inputs(self, device: torch.device) -> dict[str, Tensor]:
        """The arguments of `models.forward.target_logits`."""
        return {name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()}


@dataclass(frozen=True, eq=False)
class PlannedBatches(Sequence[TrainItems]):
    """The micro-batches of a round: their items one after the other, and where each ends."""

    items: TrainItems
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> TrainItems: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainItems]: ...
    def __getitem__(self, index: int | slice) -> "TrainItems | list[TrainItems]":
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        return self.items[int(self.offsets[place]) : int(self.offsets[place + 1])]


def plan_batches(
    items: Sequence[TrainItem],
    sources: TokenArrays,
    texts: Mapping[TextGenerator, TokenArrays],
    *,
    batch_tokens: int,
    seed: Sequence[int],
    by_target: bool = False,
) -> PlannedBatches:
    """Divides items into micro-batches of at most `batch_tokens` padded tokens, in random order.

    Padded tokens are S·L + B·T, or B·L + B·T if counted `by_target`: then targets that share a source make no batch
    larger, and an optimizer step has as many targets as without sharing. Items of similar length share a batch; an item
    that exceeds the budget alone gets its own batch. The result is a pure function of the arguments.
    """
    items = TrainItems.of(items)
    if not len(items):
        return PlannedBatches(items, np.zeros(1, np.int64))
    target_lengths = items.per_row({generator: arrays.lengths for generator, arrays in texts.items()})
    longest = np.maximum.reduceat(target_lengths, items.offsets[:-1])
    length, count = sources.lengths[items.sources], items.counts
    readings = count if by_target else np.ones_like(count)
    mean_cost = max(1.0, float((readings * length + count * longest).mean()))
    bucket = max(1, int(BUCKET * batch_tokens / mean_cost))
    batches: list[Ints] = []
    for start in range(0, len(items), bucket):
        rows = np.arange(start, min(start + bucket, len(items)))
        rows = rows[np.lexsort((length[rows], longest[rows]))]
        slices = _slices(length[rows], longest[rows], readings[rows], count[rows], batch_tokens)
        batches.extend(rows[part] for part in slices)
    order = np.random.default_rng(tuple(seed)).permutation(len(batches))
    batches = [batches[i] for i in order]
    return PlannedBatches(items.take(np.concatenate(batches)), offsets_of(np.array(list(map(len, batches)))))


def _slices(length: Ints, longest: Ints, readings: Ints, count: Ints, budget: int) -> list[slice]:
    """Consecutive slices of sorted items, each as long as the budget of padded tokens allows."""
    slices, start, max_source, max_target, sources, targets = [], 0, 0, 0, 0, 0
    columns = (column.tolist() for column in (length, longest, readings, count))
    for i, (source, target, n_sources, n_targets) in enumerate(zip(*columns, strict=True)):
        max_source, max_target = max(max_source, source), max(max_target, target)
        sources, targets = sources + n_sources, targets + n_targets
        if i > start and sources * max_source + targets * max_target > budget:
            slices.append(slice(start, i))
            start, max_source, max_target, sources, targets = i, source, target, n_sources, n_targets
    return [*slices, slice(start, len(length))]


def collate(
    items: Sequence[TrainItem], sources: TokenArrays, texts: Mapping[TextGenerator, TokenArrays], *, pad: int
) -> Batch:
    """The tensors of a micro-batch; sources and targets are padded on the right with `pad`."""
    source_ids_SL, source_mask_SL = padded([sources[item.source].tolist() for item in items], pad=pad)
    targets = [texts[item.generator][row].tolist() for item in items for row in item.rows]
    target_ids_BT, target_mask_BT = padded(targets, pad=pad)
    source_of_B = torch.repeat_interleave(torch.tensor([len(item.rows) for item in items]))
    return Batch(source_ids_SL, source_mask_SL, source_of_B, target_ids_BT, target_mask_BT)


def count_positions(items: Sequence[TrainItem], texts: Mapping[TextGenerator, TokenArrays]) -> int:
    """Number of target positions of a micro-batch, over which its loss is summed."""
    return sum(len(texts[item.generator][row]) for item in items for row in item.rows)
