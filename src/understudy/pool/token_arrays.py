"""Token ids of many texts in two arrays, and the tables of targets a student is taught on.

TokenArrays are tokenised once, before the loop; nothing here knows a tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


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
        return cls(flat, np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The texts of several, one after the other."""
        ends = np.cumsum([0, *(len(part.flat) for part in parts)])
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, ends[:-1], strict=True)]
        return cls(np.concatenate([part.flat for part in parts]), np.concatenate([*offsets, ends[-1:]]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def places(self, rows: Sequence[int]) -> Ints:
        """Where in `flat` the tokens of these texts lie, text by text."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    @property
    def lengths(self) -> Ints:
        """Tokens of each text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Targets:
    """The target texts of each source: those of source s are rows `first[s] : first[s + 1]` of `texts`."""

    texts: TokenArrays
    first: Ints

    @classmethod
    def of(cls, targets: Sequence[Sequence[Sequence[int]]]) -> Self:
        """Packs, for each source in turn, the token ids of its targets; none for a source without."""
        counts = np.fromiter(map(len, targets), np.int64, len(targets))
        texts = TokenArrays.of([text for of_source in targets for text in of_source])
        return cls(texts, np.concatenate([[0], np.cumsum(counts)]))

    def rows(self, source: int) -> range:
        """Which of `texts` are this source's."""
        return range(int(self.first[source]), int(self.first[source + 1]))

    @property
    def counts(self) -> Ints:
        """Targets of each source."""
        return np.diff(self.first)
