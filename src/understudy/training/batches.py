"""From lessons to tensors: micro-batches by token budget, bucketed by length.

Axes: S sources, L source positions, B targets (B >= S), T target positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.pool.token_arrays import Ints, TokenArrays
from understudy.records import TextGenerator
from understudy.training.mixture import TrainItem

BUCKET = 64
"""Micro-batches sorted by length together: enough to pad little, few enough to stay random."""


@dataclass(frozen=True)
class Batch:
    """Tensors of one micro-batch; masks are true where there is text."""

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
    lessons: Sequence[TrainItem],
    sources: TokenArrays,
    texts: Mapping[TextGenerator, TokenArrays],
    *,
    batch_tokens: int,
    seed: Sequence[int],
) -> list[list[TrainItem]]:
    """Cuts a round's lessons into micro-batches of at most `batch_tokens` padded tokens, in random order.

    Padded tokens are S·L + B·T. Lessons of similar length meet; a lesson too long for the budget gets a batch of
    its own. The result is a pure function of its arguments.
    """
    if not lessons:
        return []
    source_lengths = sources.lengths
    target_lengths = {generator: of.lengths for generator, of in texts.items()}
    longest = np.array([max(target_lengths[generator][list(rows)]) for _, generator, rows in lessons], np.int64)
    length = np.array([source_lengths[lesson.source] for lesson in lessons], np.int64)
    count = np.array([len(lesson.rows) for lesson in lessons], np.int64)
    mean_cost = max(1.0, float((length + count * longest).mean()))
    bucket = max(1, int(BUCKET * batch_tokens / mean_cost))
    batches: list[list[TrainItem]] = []
    for start in range(0, len(lessons), bucket):
        rows = np.arange(start, min(start + bucket, len(lessons)))
        rows = rows[np.lexsort((length[rows], longest[rows]))]
        cuts = _cuts(length[rows], longest[rows], count[rows], batch_tokens)
        batches.extend([lessons[i] for i in rows[cut]] for cut in cuts)
    order = np.random.default_rng(tuple(seed)).permutation(len(batches))
    return [batches[i] for i in order]


def _cuts(length: Ints, longest: Ints, count: Ints, budget: int) -> list[slice]:
    cuts, start, most_source, most_target, targets = [], 0, 0, 0, 0
    for i in range(len(length)):
        most_source, most_target = max(most_source, length[i]), max(most_target, longest[i])
        targets += count[i]
        if i > start and (i - start + 1) * most_source + targets * most_target > budget:
            cuts.append(slice(start, i))
            start, most_source, most_target, targets = i, length[i], longest[i], count[i]
    return [*cuts, slice(start, len(length))]


def collate(
    lessons: Sequence[TrainItem], sources: TokenArrays, texts: Mapping[TextGenerator, TokenArrays], *, pad: int
) -> Batch:
    """The tensors of a micro-batch; both sides padded on the right with `pad`."""
    source_ids_SL, source_mask_SL = _padded([sources[lesson.source] for lesson in lessons], pad)
    target_ids_BT, target_mask_BT = _padded(
        [texts[lesson.generator][row] for lesson in lessons for row in lesson.rows], pad
    )
    source_of_B = torch.repeat_interleave(torch.tensor([len(lesson.rows) for lesson in lessons]))
    return Batch(source_ids_SL, source_mask_SL, source_of_B, target_ids_BT, target_mask_BT)


def positions(lessons: Sequence[TrainItem], texts: Mapping[TextGenerator, TokenArrays]) -> int:
    """Target tokens of a micro-batch: what its loss is a sum over."""
    return sum(len(texts[lesson.generator][row]) for lesson in lessons for row in lesson.rows)


def _padded(texts: Sequence[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    ids = np.full((len(texts), max(map(len, texts))), pad, np.int64)
    mask = np.zeros(ids.shape, bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)
