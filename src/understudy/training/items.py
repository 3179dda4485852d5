"""The items of a round as columns: 10 million inputs are a few arrays, not 10 million Python objects.

What an item trains on is decided in `mixture.py`; which items share a micro-batch, in `batches.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, get_args, overload

import numpy as np
from numpy.typing import NDArray

from understudy.pool.token_arrays import Ints, Targets, offsets_of, ranges
from understudy.records import TextGenerator

GENERATORS: tuple[TextGenerator, ...] = get_args(TextGenerator)


class TrainItem(NamedTuple):
    """One source and its k target rows, which share an encoder pass."""

    source: int
    generator: TextGenerator
    rows: tuple[int, ...]
    """Rows of the generator's texts. For student samples: which of the samples to generate for this source."""


@dataclass(frozen=True, eq=False)
class TrainItems(Sequence[TrainItem]):
    """Items in columns; a `TrainItem` is made when it is asked for. Slices are not copied."""

    sources: Ints
    generators: NDArray[np.uint8]
    """Index of each item's generator in `GENERATORS`."""
    rows: Ints
    """The target rows of all items, item by item; `offsets` separates them."""
    offsets: Ints

    @classmethod
    def of(cls, items: Iterable[TrainItem]) -> "TrainItems":
        """Packs items; those that are packed already are returned as they are."""
        if isinstance(items, TrainItems):
            return items
        items = list(items)
        return cls(
            np.array([item.source for item in items], np.int64),
            np.array([GENERATORS.index(item.generator) for item in items], np.uint8),
            np.array([row for item in items for row in item.rows], np.int64),
            offsets_of(np.array([len(item.rows) for item in items], np.int64)),
        )

    @classmethod
    def of_one(cls, generator: TextGenerator, sources: Ints, rows: Ints, counts: Ints) -> Self:
        """The items of one generator, of which each has `counts` of the rows."""
        of = np.full(len(sources), GENERATORS.index(generator), np.uint8)
        return cls(sources, of, rows, offsets_of(counts))

    @classmethod
    def of_all(cls, generator: TextGenerator, targets: Targets) -> Self:
        """An item of each source that has targets, with all of them."""
        counts = targets.counts
        rows = np.arange(len(targets.texts))
        return cls.of_one(generator, np.flatnonzero(counts), rows, counts[counts > 0])

    @classmethod
    def joined(cls, *parts: "TrainItems") -> Self:
        """The items of all parts, one part after the other."""
        parts = parts or (TrainItems.of(()),)
        return cls(
            np.concatenate([part.sources for part in parts]),
            np.concatenate([part.generators for part in parts]),
            np.concatenate([part.rows for part in parts]),
            offsets_of(np.concatenate([part.counts for part in parts])),
        )

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> TrainItem: ...
    @overload
    def __getitem__(self, index: slice) -> "TrainItems": ...
    def __getitem__(self, index: int | slice) -> "TrainItem | TrainItems":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            offsets = self.offsets[start : max(start, stop) + 1]
            rows = self.rows[offsets[0] : offsets[-1]]
            return TrainItems(self.sources[start:stop], self.generators[start:stop], rows, offsets - offsets[0])
        return next(iter(self.take(np.array([range(len(self))[index]]))))

    def __iter__(self) -> Iterator[TrainItem]:
        sources, generators, rows = (column.tolist() for column in (self.sources, self.generators, self.rows))
        ends = self.offsets.tolist()
        for number, (source, generator) in enumerate(zip(sources, generators, strict=True)):
            yield TrainItem(source, GENERATORS[generator], tuple(rows[ends[number] : ends[number + 1]]))

    @property
    def counts(self) -> Ints:
        """Number of target rows of each item."""
        return np.diff(self.offsets)

    def of_generator(self, generator: TextGenerator) -> NDArray[np.bool_]:
        """Whether each item's targets come from this generator."""
        return np.asarray(self.generators == GENERATORS.index(generator))

    def take(self, places: Ints) -> "TrainItems":
        """These items in this order."""
        counts = self.counts[places]
        rows = self.rows[ranges(self.offsets[places], counts)]
        return TrainItems(self.sources[places], self.generators[places], rows, offsets_of(counts))

    def with_rows(self, of: NDArray[np.bool_], others: "TrainItems") -> "TrainItems":
        """The items, the chosen ones with the rows of others instead of their own."""
        counts = self.counts
        counts[of] = others.counts
        chosen = np.repeat(of, counts)
        rows = np.zeros(len(chosen), np.int64)
        rows[chosen] = others.rows
        rows[~chosen] = self.rows[np.repeat(~of, self.counts)]
        return TrainItems(self.sources, self.generators, rows, offsets_of(counts))

    def per_row(self, values: Mapping[TextGenerator, Ints]) -> Ints:
        """A value for each target row: that of its text, by generator."""
        of = np.repeat(self.generators, self.counts)
        found = np.zeros(len(self.rows), np.int64)
        for generator in np.unique(self.generators).tolist():
            chosen = of == generator
            found[chosen] = values[GENERATORS[generator]][self.rows[chosen]]
        return found
