"""The log-probabilities of a student's tokens from a teacher with another tokenizer.

The student's text is tokenized for the teacher. Where a student token begins, the probability of every teacher token
moves to a student token (models/byte_prefix.py), and what becomes no token is left to the rest of `bucketed` in
objectives/sparse.py.
Axes: N positions of the teacher's tokens, V its vocabulary, P positions of the student's, S its vocabulary and one more
column for the rest, K kept tokens.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.columns import BLOCK_ROWS
from understudy.models.byte_prefix import BytePrefixMap, byte_prefix_map
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.objectives.truncation import within_top_p
from understudy.pool.token_arrays import TokenArrays, offsets_of
from understudy.training.byte_alignment import ReadingKind, TokenReading, align_bytes
from understudy.training.byte_prefix_mass import StudentPosition, student_mass
from understudy.training.items import TrainItem, TrainItems


@dataclass(frozen=True)
class OtherTokenizer:
    """A teacher and a student that tokenize one text differently."""

    teacher: TaskTokenizer
    student: TaskTokenizer

    @cached_property
    def tokens(self) -> BytePrefixMap:
        """The map of their tokens, built once."""
        return byte_prefix_map(self.teacher.tokenizer, self.student.tokenizer)

    def for_teacher(self, items: TrainItems, texts: TokenArrays, sources: TokenArrays) -> TokenArrays:
        """The items' texts in the teacher's tokens, under their rows of `texts`; all other rows are empty.

        A text is tokenized from what the student's tokens decode to, and cut where the teacher has no more positions.
        """
        lengths = np.zeros(len(texts), np.int64)
        parts = [ids[:room] for ids, room in self._encoded(items, texts, sources)]
        lengths[np.sort(items.rows)] = list(map(len, parts))
        return TokenArrays(TokenArrays.of(parts).flat, offsets_of(lengths))

    def cut(self, items: TrainItems, texts: TokenArrays, sources: TokenArrays) -> int:
        """How many of the items' texts `for_teacher` cuts."""
        if self.teacher.max_positions is None:
            return 0
        return sum(room is not None and len(ids) > room for ids, room in self._encoded(items, texts, sources))

    def readings(self, own: NDArray[np.int32], others: NDArray[np.int32]) -> list[TokenReading]:
        """How the teacher's distributions give those of the student's tokens of one text."""
        ends = self.student.tokenizer.eos_token_id, self.teacher.tokenizer.eos_token_id
        return align_bytes(
            [self.tokens.student[token_id] for token_id in own.tolist()],
            [self.tokens.teacher[token_id] for token_id in others.tolist()],
            ends=(*own[-1:].tolist(), *others[-1:].tolist()) == ends,
        )

    def shares(self, items: TrainItems, texts: TokenArrays, sources: TokenArrays) -> dict[str, float]:
        """The share of the items' target positions of each kind."""
        others = self.for_teacher(items, texts, sources)
        counts = Counter(
            reading.kind for row in items.rows.tolist() for reading in self.readings(texts[row], others[row])
        )
        return {kind: counts[kind] / max(1, counts.total()) for kind in get_args(ReadingKind)}

    def truncated(
        self,
        logits_NV: Tensor,
        items: Sequence[TrainItem],
        texts: TokenArrays,
        others: TokenArrays,
        top_k: int,
        top_p: float,
    ) -> tuple[Tensor, Tensor]:
        """The most probable of the student's tokens at every position of the items' texts.

        Args:
            logits_NV: the teacher's, at the positions of its own tokens.
            items: whose texts they are.
            texts: in the student's tokens.
            others: the same texts in the teacher's.
            top_k: K.
            top_p: as in `objectives.truncation.truncated`.

        Returns:
            Ids, and log-probabilities in nats, both PK; minus infinity where a token is not kept or has probability 0.
        """
        positions, before = list[StudentPosition](), 0
        rows = [(item.generator != "student", row) for item in items for row in item.rows]
        for is_target, row in rows:
            readings = self.readings(texts[row], others[row])
            labels = texts[row].tolist()
            positions += [StudentPosition(*pair, before, is_target) for pair in zip(labels, readings, strict=True)]
            before += len(others[row])
        teacher_ids_N = np.concatenate([others[row] for _, row in rows])
        mass_PS = student_mass(logits_NV, teacher_ids_N, positions, self.tokens)[:, : self.tokens.rest]
        mass_PK, ids_PK = mass_PS.topk(min(top_k, self.tokens.rest), dim=-1)
        return ids_PK, within_top_p(mass_PK.log(), top_p)

    def _encoded(
        self, items: TrainItems, texts: TokenArrays, sources: TokenArrays
    ) -> Iterator[tuple[list[int], int | None]]:
        """The items' texts in the teacher's tokens, in the order of their rows, each with its room."""
        order = np.argsort(items.rows, kind="stable")
        rows, source_lengths = items.rows[order], np.repeat(sources.lengths[items.sources], items.counts)[order]
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            encoded = self.teacher.encode_targets([self.student.decode(texts[row].tolist()) for row in block])
            rooms = map(self._room, source_lengths[start : start + BLOCK_ROWS].tolist())
            yield from zip(encoded, rooms, strict=True)

    def _room(self, source: int) -> int | None:
        """Positions for a target after a source of so many tokens; None: no limit."""
        limit = self.teacher.max_positions
        return limit if limit is None or self.teacher.is_encoder_decoder else max(0, limit - source + 1)
