"""Micro-batches limited by padded tokens, bucketed by length, and their tensors.

Axes: S sources, L source positions, B targets (B >= S), T target positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.models.forward import padded
from understudy.pool.token_arrays import Ints, TokenArrays
from understudy.records import TextGenerator
from understudy.training.mixture import TrainItem

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


def plan_batches(
    items: Sequence[TrainItem],
    sources: TokenArrays,
    texts: Mapping[TextGenerator, TokenArrays],
    *,
    batch_tokens: int,
    seed: Sequence[int],
) -> list[list[TrainItem]]:
    """Divides items into micro-batches of at most `batch_tokens` padded tokens, in random order.

    Padded tokens are S·L + B·T. Items of similar length share a batch; an item that exceeds the budget alone gets its
    own batch. The result is a pure function of the arguments.
    """
    if not items:
        return []
    source_lengths = sources.lengths
    target_lengths = {generator: arrays.lengths for generator, arrays in texts.items()}
    longest = np.array([max(target_lengths[generator][list(rows)]) for _, generator, rows in items], np.int64)
    length = np.array([source_lengths[item.source] for item in items], np.int64)
    count = np.array([len(item.rows) for item in items], np.int64)
    mean_cost = max(1.0, float((length + count * longest).mean()))
    bucket = max(1, int(BUCKET * batch_tokens / mean_cost))
    batches: list[list[TrainItem]] = []
    for start in range(0, len(items), bucket):
        rows = np.arange(start, min(start + bucket, len(items)))
        rows = rows[np.lexsort((length[rows], longest[rows]))]
        slices = _slices(length[rows], longest[rows], count[rows], batch_tokens)
        batches.extend([items[i] for i in rows[part]] for part in slices)
    order = np.random.default_rng(tuple(seed)).permutation(len(batches))
    return [batches[i] for i in order]


def _slices(length: Ints, longest: Ints, count: Ints, budget: int) -> list[slice]:
    """Consecutive slices of sorted items, each as long as the budget of padded tokens allows."""
    slices, start, max_source, max_target, targets = [], 0, 0, 0, 0
    for i in range(len(length)):
        max_source, max_target = max(max_source, length[i]), max(max_target, longest[i])
        targets += count[i]
        if i > start and (i - start + 1) * max_source + targets * max_target > budget:
            slices.append(slice(start, i))
            start, max_source, max_target, targets = i, length[i], longest[i], count[i]
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
