"""Token ids of many texts in two arrays, and the targets of each source as such arrays.

Texts are tokenized once, before training; this module does not depend on a tokenizer.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from understudy.columns import BLOCK_ROWS
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import LeftOut

Ints = NDArray[np.int64]
T = TypeVar("T")


def offsets_of(counts: Ints) -> Ints:
    """Offsets of parts that have so many entries each: entry i begins at `offsets[i]`, the last one ends the last."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def ranges(starts: Ints, counts: Ints) -> Ints:
    """The numbers from each start on, so many of each, one range after the other."""
    offsets = offsets_of(counts)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)


@dataclass(frozen=True)
class TokenArrays:
    """Texts as token ids: text i is `flat[offsets[i] : offsets[i + 1]]`."""

    flat: NDArray[np.int32]
    offsets: Ints

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Self:
        """Packs lists of token ids."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        flat = np.fromiter((token for text in texts for token in text), np.int32, int(lengths.sum()))
        return cls(flat, offsets_of(lengths))

    @classmethod
    def encoded(
        cls,
        encode: Callable[[Sequence[T]], Sequence[Sequence[int]]],
        texts: Sequence[T],
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Packs the token ids of texts, of which only `BLOCK_ROWS` are Python lists at a time."""
        flat, lengths = array("i"), np.zeros(len(texts), np.int64)
        for start in range(0, len(texts), BLOCK_ROWS):
            block = texts[start : start + BLOCK_ROWS]
            packed = cls.of(encode(block))
            flat.frombytes(packed.flat.tobytes())  # grows in place: concatenated blocks would need twice the memory
            lengths[start : start + len(block)] = packed.lengths
            progress(len(block))
        return cls(np.frombuffer(flat, np.int32), offsets_of(lengths))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The texts of all parts, one part after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.flat for part in parts]), offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def positions(self, rows: Sequence[int]) -> Ints:
        """Indices into `flat` of the tokens of these texts, text by text."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def take(self, rows: Ints) -> Self:
        """These texts in this order."""
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        flat = np.empty(offsets[-1], np.int32)
        for start in range(0, len(rows), BLOCK_ROWS):  # the indices of all tokens need four times the memory of the ids
            part = slice(start, start + BLOCK_ROWS)
            ids = ranges(self.offsets[rows[part]], lengths[part])
            flat[offsets[start] : offsets[start] + len(ids)] = self.flat[ids]
        return type(self)(flat, offsets)

    @property
    def lengths(self) -> Ints:
        """Number of tokens of each text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Targets:
    """The target texts of each source: those of source s are rows `first[s] : first[s + 1]` of `texts`."""

    texts: TokenArrays
    first: Ints
    left_out: tuple[LeftOut, ...] = ()
    """Texts that are not among them."""

    @classmethod
    def of(cls, targets: Sequence[Sequence[Sequence[int]]]) -> Self:
        """Packs the token ids of each source's targets; a source may have none."""
        counts = np.fromiter(map(len, targets), np.int64, len(targets))
        texts = TokenArrays.of([text for source_targets in targets for text in source_targets])
        return cls(texts, offsets_of(counts))

    def rows(self, source: int) -> range:
        """Rows of `texts` that belong to this source."""
        return range(int(self.first[source]), int(self.first[source + 1]))

    @property
    def counts(self) -> Ints:
        """Number of targets of each source."""
        return np.diff(self.first)
