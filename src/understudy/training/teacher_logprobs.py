"""Sparse teacher log-probabilities (teacher logits after top-k truncation) of texts, computed once and cached.

Axes: N target positions of a batch, V vocabulary, K kept tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import TextGenerator
from understudy.training.batches import collate, plan_batches
from understudy.training.items import GENERATORS, TrainItem, TrainItems
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.step import TargetLogits

BATCH_TOKENS = 8192
MAX_LOGITS = 2**25
"""Logits of one forward pass, 128 MB: with a large vocabulary the targets of a batch are split into parts."""
CHUNK = 2048
"""Items between two commits to disk: at most these are computed again after an interruption."""


@dataclass(frozen=True)
class TeacherLogprobScorer:
    """A teacher network with all it needs to compute the log-probabilities of texts."""

    teacher: TargetLogits
    sources: TokenArrays
    """In the teacher's encoding."""
    top_k: int
    """Tokens kept per position."""
    pad: int
    """The teacher's."""
    other: OtherTokenizer | None = None
    """How texts are read where the student's tokens are not the teacher's."""

    def logprobs(
        self,
        items: Sequence[TrainItem],
        texts: TokenArrays,
        into: TeacherLogprobs | None = None,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> TeacherLogprobs:
        """The teacher's top-k log-probabilities at every position of the items' texts.

        Args:
            items: together they contain each of `texts` once, or each of a contiguous range of them.
            texts: all target texts, in the student's tokens.
            into: arrays with all positions of `texts`; None: new arrays with only the positions of these items.
            progress: is called with the number of items that are done.

        Returns:
            `into`, or the new arrays. The values do not depend on other calls before or after.
        """
        first = 0
        if into is None:
            rows = TrainItems.of(items).rows
            first = int(texts.offsets[rows.min()])
            into = _empty(int(texts.offsets[rows.max() + 1]) - first, min(self.top_k, self._student_vocab_size))
        read = self.other.for_teacher(TrainItems.of(items), texts, self.sources) if self.other else texts
        by_generator: Mapping[TextGenerator, TokenArrays] = dict.fromkeys(GENERATORS, read)
        self.teacher.eval()
        for batch in plan_batches(items, self.sources, by_generator, batch_tokens=BATCH_TOKENS, seed=(0,)):
            for part in _parts(batch, read, max_positions=MAX_LOGITS // self.teacher.vocab_size):
                logp_NK, ids_NK = self._top_k(part, texts, by_generator)
                positions_N = texts.positions([row for item in part for row in item.rows]) - first
                into.ids_PK[positions_N] = ids_NK.cpu().numpy()
                into.logp_PK[positions_N] = logp_NK.cpu().numpy()
            progress(len(batch))
        return into

    @property
    def _student_vocab_size(self) -> int:
        return self.other.tokens.rest if self.other else self.teacher.vocab_size

    @torch.inference_mode()
    def _top_k(
        self, batch: Sequence[TrainItem], texts: TokenArrays, read: Mapping[TextGenerator, TokenArrays]
    ) -> tuple[Tensor, Tensor]:
        device = next(self.teacher.parameters()).device
        inputs = collate(batch, self.sources, read, pad=self.pad).inputs(device)
        logits_NV = self.teacher(inputs, sources_once=True).float()
        if self.other:
            return self.other.top_k(logits_NV, batch, texts, read[batch[0].generator], self.top_k)
        top_NK, ids_NK = logits_NV.topk(min(self.top_k, logits_NV.shape[1]), dim=-1)
        return top_NK - logits_NV.logsumexp(dim=-1, keepdim=True), ids_NK


def _parts(batch: Sequence[TrainItem], texts: TokenArrays, *, max_positions: int) -> Iterator[list[TrainItem]]:
    """Splits a batch into parts of at most `max_positions` target positions; a single text may have more."""
    part: list[TrainItem] = []
    positions = 0
    for item in batch:
        for row in item.rows:
            length = len(texts[row])
            if part and positions + length > max_positions:
                yield part
                part, positions = [], 0
            if part and part[-1].source == item.source:
                part[-1] = part[-1]._replace(rows=(*part[-1].rows, row))
            else:
                part.append(item._replace(rows=(row,)))
            positions += length
    yield part


def cache_teacher_logprobs(
    scorer: TeacherLogprobScorer,
    items: Sequence[TrainItem],
    texts: TokenArrays,
    file: LogprobCacheFile,
    progress: ProgressCallback,
) -> None:
    """Computes the log-probabilities of all items, chunk by chunk, into a file; finished chunks are skipped."""
    progress(file.done)
    for start in range(file.done, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        scorer.logprobs(chunk, texts, file.logprobs, progress)
        file.commit(start + len(chunk))


def _empty(positions: int, top_k: int) -> TeacherLogprobs:
    return TeacherLogprobs(np.zeros((positions, top_k), np.int32), np.zeros((positions, top_k), np.float16))
