"""The teacher listens to texts once, in large batches of similar length, and its sparse signal is kept.

Axes: N target positions of a batch, V vocabulary, K kept tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import ProgressCallback
from understudy.records import TextGenerator
from understudy.training.batches import collate, plan_batches
from understudy.training.mixture import TrainItem
from understudy.training.step import TargetLogits

BATCH_TOKENS = 8192
LOGITS = 2**25
"""Of one batch at the most, 128 MB: with a large vocabulary the targets of a batch are heard in parts."""
CHUNK = 2048
"""Lessons between two receipts: what a kill can cost."""


@dataclass(frozen=True)
class TeacherLogprobScorer:
    """A teacher that is asked what it would have said at every position of a text."""

    teacher: TargetLogits
    sources: TokenArrays
    """As the teacher reads them."""
    top: int
    pad: int

    def hear(
        self, lessons: Sequence[TrainItem], texts: TokenArrays, into: TeacherLogprobs | None = None
    ) -> TeacherLogprobs:
        """The signal of the lessons' texts.

        Args:
            lessons: together they name each of `texts` once, or each of an unbroken row of them.
            texts: all there are.
            into: has a place for every position of `texts`; none: a new one for just these lessons' positions.

        Returns:
            `into`, or the new signal. It does not depend on what else is heard, before or after.
        """
        first = 0
        if into is None:
            rows = [row for lesson in lessons for row in lesson.rows]
            first = int(texts.offsets[min(rows)])
            into = _empty(int(texts.offsets[max(rows) + 1]) - first, min(self.top, self.teacher.vocabulary))
        named: Mapping[TextGenerator, TokenArrays] = dict.fromkeys({lesson.generator for lesson in lessons}, texts)
        self.teacher.eval()
        for batch in plan_batches(lessons, self.sources, named, batch_tokens=BATCH_TOKENS, seed=(0,)):
            for part in _parts(batch, texts, most=LOGITS // self.teacher.vocabulary):
                logp_NK, ids_NK = self._heard(part, named)
                places_N = texts.places([row for lesson in part for row in lesson.rows]) - first
                into.ids_PK[places_N] = ids_NK.cpu().numpy()
                into.logp_PK[places_N] = logp_NK.cpu().numpy()
        return into

    @torch.inference_mode()
    def _heard(self, batch: Sequence[TrainItem], texts: Mapping[TextGenerator, TokenArrays]) -> tuple[Tensor, Tensor]:
        device = next(self.teacher.parameters()).device
        logits_NV = self.teacher(collate(batch, self.sources, texts, pad=self.pad).inputs(device)).float()
        top_NK, ids_NK = logits_NV.topk(min(self.top, logits_NV.shape[1]), dim=-1)
        return top_NK - logits_NV.logsumexp(dim=-1, keepdim=True), ids_NK


def _parts(batch: Sequence[TrainItem], texts: TokenArrays, *, most: int) -> Iterator[list[TrainItem]]:
    """The batch in parts of at most so many target positions; a single text may have more."""
    part: list[TrainItem] = []
    positions = 0
    for lesson in batch:
        for row in lesson.rows:
            length = len(texts[row])
            if part and positions + length > most:
                yield part
                part, positions = [], 0
            if part and part[-1].source == lesson.source:
                part[-1] = part[-1]._replace(rows=(*part[-1].rows, row))
            else:
                part.append(lesson._replace(rows=(row,)))
            positions += length
    yield part


def cache_teacher_logprobs(
    listener: TeacherLogprobScorer,
    lessons: Sequence[TrainItem],
    texts: TokenArrays,
    file: LogprobCacheFile,
    advance: ProgressCallback,
) -> None:
    """Hears all lessons, chunk by chunk, into a file; those that a killed attempt finished are not heard again."""
    advance(file.done)
    for start in range(file.done, len(lessons), CHUNK):
        chunk = lessons[start : start + CHUNK]
        listener.hear(chunk, texts, file.signal)
        file.finish(start + len(chunk))
        advance(len(chunk))


def _empty(positions: int, top: int) -> TeacherLogprobs:
    return TeacherLogprobs(np.zeros((positions, top), np.int32), np.zeros((positions, top), np.float16))
