"""Sparse teacher log-probabilities (teacher logits after top-k and top-p truncation), computed once and cached.

Axes: N target positions of a batch, V vocabulary, K kept tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from understudy.objectives.truncation import lost_divergence, truncated
from understudy.pool.logprob_cache import LogprobCacheFile, PackedRows, TeacherLogprobs, packed
from understudy.pool.logprob_rows import row_format
from understudy.pool.token_arrays import TokenArrays, ranges
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.ranks import ALONE, Ranks, items_of_rank
from understudy.records import TextGenerator
from understudy.training.batches import collate, plan_batches
from understudy.training.items import GENERATORS, TrainItem, TrainItems
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.reduction import from_all, from_first, to_first
from understudy.training.step import TargetLogits

BATCH_TOKENS = 8192
MAX_LOGITS = 2**25
"""Logits of one forward pass, 128 MB: with a large vocabulary the targets of a batch are split into parts."""
CHUNK = 2048
"""Items between two commits to disk at most: these are computed again after an interruption."""
CHUNK_POSITIONS = 2**18
"""Positions between two commits, in the mean: they are in memory, at 6 bytes per kept token."""
CHUNK_TOKENS = 2**24
"""Kept tokens between two commits, in the mean: 100 MB. No progress is reported while they are packed, about a second;
with 1,024 tokens of 2**18 positions it was 12."""
LOST_EVERY = 8
"""Every so many positions the lost divergence is measured: it needs three passes over the vocabulary."""


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
    top_p: float = 1.0
    """Probability mass after which no further token is kept; 1: always `top_k` tokens."""
    other: OtherTokenizer | None = None
    """How texts are read where the student's tokens are not the teacher's."""

    def logprobs(
        self,
        items: Sequence[TrainItem],
        texts: TokenArrays,
        into: TeacherLogprobs | None = None,
        progress: ProgressCallback = NO_PROGRESS,
        ranks: Ranks = ALONE,
    ) -> TeacherLogprobs:
        """The teacher's truncated log-probabilities at every position of the items' texts.

        Args:
            items: together they contain each of `texts` once, or each of a contiguous range of them.
            texts: all target texts, in the student's tokens.
            into: arrays with the positions of these items, or of all `texts`; None: new arrays of the former kind.
            progress: is called with the number of items that are done.
            ranks: each of them computes its share of the batches, and all have all values at the end.

        Returns:
            `into`, or the new arrays. The values do not depend on other calls before or after.
        """
        first, positions = self._range(items, texts)
        if into is None:
            into = TeacherLogprobs.empty(positions, min(self.top_k, self.student_vocab_size))
        elif len(into.ids_PK) == len(texts.flat):
            first = 0
        read = self.other.for_teacher(TrainItems.of(items), texts, self.sources) if self.other else texts
        by_generator: Mapping[TextGenerator, TokenArrays] = dict.fromkeys(GENERATORS, read)
        self.teacher.eval()
        # With two tokenizers there is a row of the vocabulary per token of either: logits, and what they become.
        widest, readings = (
            max(self.teacher.vocab_size, self.student_vocab_size),
            (read, texts) if self.other else (read,),
        )
        planned = plan_batches(items, self.sources, by_generator, batch_tokens=BATCH_TOKENS, seed=(0,))
        own = items_of_rank(planned, ranks)
        for batch in own:
            for part in _parts(batch, readings, max_positions=MAX_LOGITS // widest):
                self._score(part, texts, by_generator, into, first)
            progress(len(batch))
        if ranks.size > 1:
            rows = TrainItems.joined(*map(TrainItems.of, own)).rows
            own_N = ranges(texts.offsets[rows], texts.lengths[rows]) - first
            for positions_N, logprobs in from_all((own_N, into.at(own_N)), ranks):
                into.ids_PK[positions_N], into.logp_PK[positions_N] = logprobs.ids_PK, logprobs.logp_PK
        return into

    def measured_logprobs(
        self, items: Sequence[TrainItem], texts: TokenArrays, progress: ProgressCallback
    ) -> TeacherLogprobs:
        """New arrays with the positions of these items, and the lost divergence at every `LOST_EVERY`-th of all."""
        _, positions = self._range(items, texts)
        into = TeacherLogprobs.empty(positions, min(self.top_k, self.student_vocab_size))
        return self.logprobs(items, texts, replace(into, lost_P=np.full(positions, np.nan, np.float32)), progress)

    @property
    def student_vocab_size(self) -> int:
        """Tokens among which log-probabilities are."""
        return self.other.tokens.rest if self.other else self.teacher.vocab_size

    def _range(self, items: Sequence[TrainItem], texts: TokenArrays) -> tuple[int, int]:
        """The first position of the items' texts, and how many there are."""
        rows = TrainItems.of(items).rows
        first = int(texts.offsets[rows.min()])
        return first, int(texts.offsets[rows.max() + 1]) - first

    @torch.inference_mode()
    def _score(
        self,
        batch: Sequence[TrainItem],
        texts: TokenArrays,
        read: Mapping[TextGenerator, TokenArrays],
        into: TeacherLogprobs,
        first: int,
    ) -> None:
        device = next(self.teacher.parameters()).device
        inputs = collate(batch, self.sources, read, pad=self.pad).inputs(device)
        logits_NV = self.teacher(inputs, sources_once=True).float()
        positions_N = texts.positions([row for item in batch for row in item.rows])
        if self.other:
            ids_NK, logp_NK = self.other.truncated(
                logits_NV, batch, texts, read[batch[0].generator], self.top_k, self.top_p
            )
        else:
            ids_NK, logp_NK = truncated(logits_NV, self.top_k, self.top_p)
        into.ids_PK[positions_N - first] = ids_NK.cpu().numpy()
        into.logp_PK[positions_N - first] = logp_NK.cpu().numpy()
        if into.lost_P is not None and self.other is None:
            # By the number of the position, so that the sample does not depend on how batches are split.
            sample_M = np.flatnonzero(positions_N % LOST_EVERY == 0)
            chosen = torch.from_numpy(sample_M).to(device)
            lost_M = lost_divergence(logits_NV[chosen], ids_NK[chosen], logp_NK[chosen])
            into.lost_P[positions_N[sample_M] - first] = lost_M.cpu().numpy()


def _parts(
    batch: Sequence[TrainItem], readings: Sequence[TokenArrays], *, max_positions: int
) -> Iterator[list[TrainItem]]:
    """Splits a batch into parts of at most `max_positions` target positions of each reading; one text may have more."""
    part: list[TrainItem] = []
    positions = 0
    for item in batch:
        for row in item.rows:
            length = max(len(texts[row]) for texts in readings)
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
    file: LogprobCacheFile | None,
    progress: ProgressCallback,
    ranks: Ranks = ALONE,
) -> None:
    """Computes the log-probabilities of all items, chunk by chunk, into a file; finished chunks are skipped.

    Args:
        scorer: the teacher.
        items: together they contain each of `texts` once.
        texts: all target texts, in the student's tokens.
        file: of the cache; None on ranks other than 0.
        progress: is called with the number of items that are done.
        ranks: each of them computes and packs one of so many chunks; rank 0 writes them in order. Chunks, and so the
            bytes of the file, do not depend on the ranks.
    """
    done = from_first(file.done if file else 0, ranks)
    progress(done)
    layout = row_format(scorer.student_vocab_size, np.float16)
    positions = min(CHUNK_POSITIONS, CHUNK_TOKENS // min(scorer.top_k, scorer.student_vocab_size))
    chunk_items = max(1, min(CHUNK, positions * len(items) // max(1, len(texts.flat))))
    for number, start in enumerate(range(done, len(items), chunk_items)):
        chunk, rank = items[start : start + chunk_items], number % ranks.size
        parts: Iterable[PackedRows] = ()
        if rank == ranks.rank:
            parts = packed(scorer.measured_logprobs(chunk, texts, progress), layout)
        if rank:
            parts = to_first(list(parts), rank, ranks)
        if rank != ranks.rank:
            progress(len(chunk))
        if file:
            file.append_packed(parts, done=start + len(chunk))
