"""Where the probability of a teacher's token goes in the vocabulary of a student with another tokenizer.

It goes to a student token whose bytes the teacher's token begins with, and to the rest where there is none: to the one
with which the student's tokenizer begins these bytes, and to the longest where that is not known. The source has the
longest everywhere. A tokenizer with merges does not always choose that: where it writes " between" as " b" and "etween"
although it has " be", a student that learns " be" generates what it has never read.
This module handles bytes and ids. Which of a text's positions are compared is in training/byte_alignment.py.

Source: Byte-Prefix Marginalization (arXiv:2607.22334).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from understudy.models.token_bytes import TokenBytes

Ids = NDArray[np.int64]
Surfaces = Sequence[bytes | None]
"""The bytes of each token id; None for a special token."""
REMEMBERED_IDS = 2**24
"""Ids that the maps of one pair may hold at a time, at 16 bytes each."""


class Moves(NamedTuple):
    """Teacher tokens with the student token that each becomes."""

    teacher_ids: Ids
    student_ids: Ids
    others: int
    """What all other teacher tokens become, if they are possible."""


class BytePrefixMap:
    """The map from a teacher's token ids to a student's.

    Args:
        teacher: the bytes of the teacher's tokens.
        student: the bytes of the student's.
        same: teacher id -> student id of tokens that are the same by definition, such as the ends of a text.
        begin: the student token that its tokenizer begins bytes with within a text; None if it is not known.
        id_of: of several student tokens with these bytes the one that it writes; None for the first.
    """

    def __init__(
        self,
        teacher: Surfaces,
        student: Surfaces,
        same: Mapping[int, int],
        begin: Callable[[bytes], int | None] = lambda _: None,
        id_of: Callable[[bytes], int | None] = lambda _: None,
    ) -> None:
        self.teacher, self.student, self._begin = teacher, student, begin
        self._ids: dict[bytes, int] = {}
        for token_id, surface in enumerate(student):
            if surface and surface not in self._ids:
                preferred = id_of(surface)
                self._ids[surface] = token_id if preferred is None else preferred
        self._longest = max(map(len, self._ids), default=0)
        self._sorted = sorted((surface, token_id) for token_id, surface in enumerate(teacher) if surface)
        self._student_sorted = sorted(self._ids.items())
        self.whole = np.array([self._first(surface) for surface in teacher], np.int64)
        """Student id of each teacher id, (V,), where a token of both begins; `rest` where there is none."""
        for teacher_id, student_id in same.items():
            self.whole[teacher_id] = student_id
        self._moves: dict[tuple[str, bytes], Moves] = {}
        self._remembered_ids = 0

    @property
    def rest(self) -> int:
        """The id, after all of the student's, of what becomes no token."""
        return len(self.student)

    def within(self, consumed: bytes) -> Moves:
        """The map where the student's token begins after `consumed`, the first bytes of the teacher's token.

        Its teacher tokens are those that begin with these bytes, each mapped by the bytes that are left of it. All
        others are impossible there. A token that ends with `consumed` goes to the rest: what follows it is unknown.
        """
        return self._remembered("within", consumed, self._within)

    def following(self, written: bytes) -> Moves:
        """The map where the teacher's token comes after `written`, the first bytes of the student's token.

        A teacher token is mapped by `written` followed by its own bytes, one without bytes by `written` alone. To begin
        all of them as the student's tokenizer does would take seconds for each `written` of a large vocabulary, so they
        go to the longest token, except after the space before a text.
        """
        return self._remembered("following", written, self._following)

    def _within(self, consumed: bytes) -> Moves:
        found = _range(self._sorted, consumed)
        ids = [self._first(surface[len(consumed) :]) for surface, _ in found]
        return Moves(np.array([token_id for _, token_id in found], np.int64), np.array(ids, np.int64), self.rest)

    def _following(self, written: bytes) -> Moves:
        if written == b" ":
            ids = np.array([self._first(written + (surface or b"")) for surface in self.teacher], np.int64)
            return Moves(np.arange(len(ids)), ids, self.rest)
        longer = [(surface[len(written) :], token_id) for surface, token_id in _range(self._student_sorted, written)]
        ids = np.full(len(self.teacher), -1, np.int64)
        for surface, token_id in sorted(longer, key=lambda pair: len(pair[0])):  # the longest is the last to be written
            if surface:
                ids[[teacher_id for _, teacher_id in _range(self._sorted, surface)]] = token_id
        chosen = np.flatnonzero(ids >= 0)
        return Moves(chosen, ids[chosen], self._longest_of(written))

    def _first(self, surface: bytes | None) -> int:
        """The student token that these bytes begin with: its tokenizer's if that is known, otherwise the longest."""
        begun = self._begin(surface) if surface else None
        return self._longest_of(surface) if begun is None else begun

    def _longest_of(self, surface: bytes | None) -> int:
        for length in range(min(len(surface or b""), self._longest), 0, -1):
            token_id = self._ids.get((surface or b"")[:length])
            if token_id is not None:
                return token_id
        return self.rest

    def _remembered(self, kind: str, key: bytes, make: Callable[[bytes], Moves]) -> Moves:
        if (kind, key) not in self._moves:
            if self._remembered_ids > REMEMBERED_IDS:
                self._moves.clear()
                self._remembered_ids = 0
            self._moves[kind, key] = made = make(key)
            self._remembered_ids += len(made.teacher_ids)
        return self._moves[kind, key]


def byte_prefix_map(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> BytePrefixMap:
    """The map of a pair of tokenizers, a function of the two alone.

    A token with the same piece and the same bytes in both is the same token, also a special one, and so are the tokens
    that end a text: equal tokenizers have the identity.

    Raises:
        ModelError: if the bytes of a tokenizer's tokens are unknown (`TokenBytes`).
    """
    tokens = TokenBytes(student)
    surfaces, of_student, pieces = _surfaces(TokenBytes(teacher)), _surfaces(tokens), student.get_vocab()
    same = {
        teacher_id: pieces[piece]
        for piece, teacher_id in teacher.get_vocab().items()
        if piece in pieces and surfaces[teacher_id] == of_student[pieces[piece]]
    }
    ends = teacher.eos_token_id, student.eos_token_id
    same = {own: others for own, others in same.items() if own != ends[0] and others != ends[1]}
    if None not in ends:
        same[ends[0]] = ends[1]
    return BytePrefixMap(surfaces, of_student, same, tokens.first_piece, tokens.id_of)


def _surfaces(tokens: TokenBytes) -> list[bytes | None]:
    return [tokens.of(token_id) for token_id in range(len(tokens))]


def _range(ordered: Sequence[tuple[bytes, int]], prefix: bytes) -> Sequence[tuple[bytes, int]]:
    """The entries, ordered by bytes, that begin with a prefix."""
    start = bisect_left(ordered, prefix, key=lambda pair: pair[0])
    return ordered[start : bisect_right(ordered, prefix, lo=start, key=lambda pair: pair[0][: len(prefix)])]
