"""Examples as columns: Arrow arrays, in memory or mapped from a file, with no Python object per example.

An `Example` is made when it is asked for, so that memory does not grow with the objects of all inputs.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from understudy.records import Example

Rows = NDArray[np.int64]
"""Indices of rows."""
ArrowColumn: TypeAlias = pa.ChunkedArray
BLOCK_ROWS = 2048
"""Rows of which Python objects exist at a time; a tokenizer's own output is many times larger than the token ids."""
TEXT = pa.large_string()
EXAMPLES_SCHEMA = pa.schema([("id", pa.string()), ("source", TEXT), ("targets", pa.large_list(TEXT))])


def allocate_from_system() -> None:
    """Makes Arrow allocate as the rest of the process does; its own allocator keeps most of what is freed."""
    pa.set_memory_pool(pa.system_memory_pool())


class Texts(Sequence[str]):
    """The texts of a column as a sequence, of which only those that are asked for are Python objects."""

    def __init__(self, column: ArrowColumn) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> "str | list[str]":
        found = self._column[index]
        return list(found.to_pylist()) if isinstance(index, slice) else str(found.as_py())

    def __iter__(self) -> Iterator[str]:
        return texts_of(self._column)


class Examples(Sequence[Example]):
    """A sequence of examples in columns; slices and files are not copied."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Examples":
        """Packs examples; those that are packed already are returned as they are."""
        if isinstance(examples, Examples):
            return examples
        rows, batches = iter(examples), []
        while block := list(islice(rows, BLOCK_ROWS)):
            columns = [[e.id for e in block], [e.source for e in block], [e.targets for e in block]]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, EXAMPLES_SCHEMA, strict=True)]
            batches.append(pa.record_batch(arrays, EXAMPLES_SCHEMA))
        return cls(pa.Table.from_batches(batches, EXAMPLES_SCHEMA).combine_chunks())

    @classmethod
    def joined(cls, *parts: Iterable[Example]) -> "Examples":
        """The examples of all parts, one part after the other."""
        return cls(pa.concat_tables([cls.of(part).table for part in parts]))

    @classmethod
    def open(cls, path: Path) -> "Examples":
        """The examples of a file, which stay on disk until they are read."""
        return cls(open_table(path))

    def save(self, path: Path) -> None:
        """Writes the examples to a file."""
        save_table(path, self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...
    def __getitem__(self, index: int | slice) -> "Example | Examples":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return Examples(self.table.slice(start, max(0, stop - start)))
            return self.take(np.arange(start, stop, step))
        row = range(len(self))[index]
        name, source, targets = (column[row].as_py() for column in self.table.columns)
        return Example(name, source, tuple(targets))

    def __iter__(self) -> Iterator[Example]:
        for batch in self.table.to_batches(max_chunksize=BLOCK_ROWS):
            for name, source, targets in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Example(name, source, tuple(targets))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Examples):
            return bool(self.table.equals(other.table))
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(own == one for own, one in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # as a list, which is compared by content too

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"Examples({len(self)}: {shown}{', ...' if len(self) > 3 else ''})"  # noqa: PLR2004 - as shown

    @property
    def ids(self) -> ArrowColumn:
        """The ids, as a column."""
        return self.table["id"]

    def sources(self) -> Iterator[str]:
        """The sources, one by one."""
        return texts_of(self.table["source"])

    def targets(self) -> Texts:
        """The targets of all examples, one after the other."""
        return Texts(pc.list_flatten(self.table["targets"]))

    def target_counts(self) -> Rows:
        """Number of targets of each example."""
        return np.asarray(pc.list_value_length(self.table["targets"]).to_numpy().astype(np.int64))

    def take(self, rows: Rows) -> "Examples":
        """These examples in this order."""
        return Examples(self.table.take(pa.array(rows, pa.int64())).combine_chunks())

    def without(self, rows: Iterable[int]) -> "Examples":
        """The others, in their order."""
        kept = np.ones(len(self), dtype=bool)
        kept[np.fromiter(rows, np.int64)] = False
        return self if kept.all() else self.take(np.flatnonzero(kept))

    def without_targets(self) -> "Examples":
        """The same inputs as unlabeled ones."""
        none = pa.LargeListArray.from_arrays(pa.array(np.zeros(len(self) + 1, np.int64)), pa.array([], TEXT))
        return Examples(self.table.set_column(2, EXAMPLES_SCHEMA.field("targets"), none))


class TextColumn:
    """Collects texts in an Arrow array, of which only one block are Python objects at a time."""

    def __init__(self) -> None:
        self._block: list[str] = []
        self._chunks: list[pa.Array] = []
        self._packed = 0

    def append(self, text: str) -> None:
        """Adds a text at the end."""
        self._block.append(text)
        if len(self._block) == BLOCK_ROWS:
            self._pack()

    def __len__(self) -> int:
        return self._packed + len(self._block)

    def array(self) -> pa.Array:
        """The texts so far."""
        self._pack()
        return pa.chunked_array(self._chunks, TEXT).combine_chunks()

    def _pack(self) -> None:
        self._chunks.append(pa.array(self._block, TEXT))
        self._packed += len(self._block)
        self._block = []


def texts_of(column: ArrowColumn) -> Iterator[str]:
    """The texts of a column, one by one."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), BLOCK_ROWS):
            yield from chunk.slice(start, BLOCK_ROWS).to_pylist()


def grouped(owners: Rows, texts: pa.Array, count: int) -> pa.Array:
    """The texts of each owner 0 to count - 1 as lists, in their order; of texts that are equal, the first."""
    codes = texts.dictionary_encode().indices.to_numpy().astype(np.int64)
    _, first = np.unique(owners * (len(codes) + 1) + codes, return_index=True)
    kept = np.sort(first)
    order = kept[np.argsort(owners[kept], kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners[kept], minlength=count))]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), texts.take(pa.array(order, pa.int64())))


def codes_of(column: ArrowColumn) -> Rows:
    """A number for each value of a column, from 0 in the order in which they first occur; equal for equal values."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy().astype(np.int64))


def places(ids: ArrowColumn, among: ArrowColumn) -> Rows:
    """The row of each id among others; -1 where it is not there."""
    found = pc.index_in(pc.cast(ids, pa.string()), value_set=among.combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy().astype(np.int64))


def save_table(path: Path, table: pa.Table) -> None:
    """Writes a table that `open_table` maps."""
    # Python's file, so that a full disk is an OSError with its errno.
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def save_rows(path: Path, rows: Rows) -> None:
    """Writes indices of rows, in any order."""
    save_table(path, pa.table({"row": rows}))


def open_rows(path: Path) -> Rows:
    """The indices of a file."""
    return np.asarray(open_table(path)["row"].to_numpy())


def open_table(path: Path) -> pa.Table:
    """A table that is mapped from its file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
