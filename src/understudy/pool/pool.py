"""The pool: all pseudo-targets of a folder, as rows and as columns.

Training reads columns (a quarter of a million rows at once), people look at rows. This module only reads; files are
written in `pool_files.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Self, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from understudy.columns import Texts, codes_of
from understudy.errors import PoolError
from understudy.pool.pool_files import read_pool_file, refuse_other_provenance
from understudy.pool.pool_index import part_holding, read_indexed
from understudy.pool.rows import rows_of_table
from understudy.records import PseudoTarget


class TokenLengths(TypedDict):
    """Lengths in tokens, the end-of-sequence token included."""

    mean: float
    p5: float
    p50: float
    p95: float
    max: int
    edges: list[float]
    """Edges of the histogram's bins: one more than `counts`."""
    counts: list[int]


class PoolStatistics(TypedDict):
    """Statistics of a pool, ready for JSON. Shares lie in 0..1; None: unknown."""

    texts: int
    inputs: int
    per_input: float
    """Mean number of texts per input."""
    duplicates: float
    """Share of texts that repeat another text of the same input."""
    distinct: float
    """Number of distinct texts in the whole pool divided by the number of texts."""
    unfinished: float | None
    """Share of texts truncated by the length limit."""
    logprob_per_token: float | None
    """Mean in nats over the tokens of all texts with a known log-probability."""
    lengths: TokenLengths | None
    generators: dict[str, int]
    """Number of texts by generator."""


@dataclass(frozen=True, eq=False)
class PseudoTargetPool:
    """Pseudo-targets of one provenance, in which no sample occurs twice."""

    folder: Path
    provenance: Mapping[str, str]
    table: pa.Table
    """The rows of all files in the order of the files' names; columns as in `pool_files.SCHEMA`."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Reads all pool files (`*.parquet`) of a folder, or those that its index names.

        Raises:
            PoolError: if there is none, one is damaged, two differ in provenance, or a sample occurs twice.
        """
        folder = Path(folder)
        indexed = read_indexed(folder)
        files = [indexed] if indexed else [read_pool_file(path) for path in sorted(folder.glob("*.parquet"))]
        if not files:
            raise PoolError(
                f"no pool file (*.parquet) in {folder}; check the path, or generate the teacher's pool first"
            )
        for other in files[1:]:
            refuse_other_provenance(files[0], other)
        # One chunk: taking a few rows out of many chunks would walk through all of them.
        table = pa.concat_tables([file.table for file in files]).combine_chunks()
        _refuse_repeated_samples(folder, table)
        return cls(folder, files[0].provenance, table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[PseudoTarget]:
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from rows_of_table(batch)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The ids of the inputs, in the order of their first text."""
        return tuple(self.table["input_id"].unique().to_pylist())

    @cached_property
    def input_indices(self) -> NDArray[np.int64]:
        """Shape (rows,): the index of each row's input in `inputs`."""
        found = pc.index_in(self.table["input_id"], value_set=self.table["input_id"].unique())
        return np.asarray(found.to_numpy(), dtype=np.int64)

    @cached_property
    def per_input(self) -> NDArray[np.int64]:
        """Shape (inputs,): number of texts of each input of `inputs`."""
        return np.bincount(self.input_indices, minlength=len(self.inputs)).astype(np.int64)

    @property
    def input_ids(self) -> Texts:
        """The input id of each row."""
        return Texts(self.table["input_id"])

    @property
    def texts(self) -> Texts:
        """The text of each row."""
        return Texts(self.table["text"])

    @property
    def distinct_texts(self) -> int:
        """Number of texts that differ from all other texts of their input."""
        return int(self.table.group_by(["input_id", "text"], use_threads=False).aggregate([]).num_rows)

    @cached_property
    def token_ids(self) -> NDArray[np.int32]:
        """Shape (tokens,): the token ids of all rows, one after the other; `offsets` separates them."""
        return np.asarray(pc.list_flatten(self.table["token_ids"]).to_numpy(), dtype=np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Shape (rows + 1,): row i holds `token_ids[offsets[i]:offsets[i + 1]]`."""
        lengths = pc.list_value_length(self.table["token_ids"]).to_numpy()
        return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))

    @cached_property
    def logprobs(self) -> NDArray[np.float64]:
        """Shape (rows,): sequence log-probabilities in nats; nan where the engine does not report them."""
        return np.asarray(self.table["logprob"].to_numpy(), dtype=np.float64)

    def row(self, index: int) -> PseudoTarget:
        """The pseudo-target of one row, 0 <= index < len(pool)."""
        return rows_of_table(self.table.slice(index, 1))[0]

    def targets_of(self, input_id: str) -> list[PseudoTarget]:
        """The texts of one input, in the pool's order.

        Raises:
            PoolError: if the pool has no text of this input.
        """
        return rows_of_table(self.table.take(self.rows_of(input_id)))

    def rows_of(self, input_id: str) -> NDArray[np.int64]:
        """The rows of one input, in their order.

        Raises:
            PoolError: if the pool has no text of this input.
        """
        index = self._index_of_input.get(input_id)
        if index is None:
            raise PoolError(
                f"the pool in {self.folder} has no text for input {input_id!r} among its {len(self.inputs)} "
                "inputs; generate the pool again with this input"
            )
        return self._rows_by_input[index]

    def refuse_other_ids(self, known: Iterable[int]) -> None:
        """Check that every token id of the pool is one of these.

        Raises:
            PoolError: with the id and the folder to delete.
        """
        other = np.flatnonzero(~np.isin(self.token_ids, np.fromiter(known, np.int64)))
        if other.size:
            row = int(np.searchsorted(self.offsets, other[0], side="right")) - 1
            token_id = int(self.token_ids[other[0]])
            raise PoolError(
                f"a text of input {self.input_ids[row]!r} holds the id {token_id}, which is no token of the model that "
                f"generated it: {part_holding(self.folder, token_id)} is damaged or was made by an earlier version; "
                "delete that folder and run the same command again"
            )

    def statistics(self, *, eos_id: int | None = None) -> PoolStatistics:
        """Counts and distributions of the pool.

        Args:
            eos_id: the token that ends a finished text; without it `unfinished` is None.
        """
        texts = len(self)
        counts = self.table["generator"].value_counts().to_pylist()
        return {
            "texts": texts,
            "inputs": len(self.inputs),
            "per_input": texts / max(len(self.inputs), 1),
            "duplicates": 1 - self.distinct_texts / texts if texts else 0.0,
            "distinct": pc.count_distinct(self.table["text"]).as_py() / texts if texts else 1.0,
            "unfinished": self._unfinished(eos_id),
            "logprob_per_token": self._logprob_per_token(),
            "lengths": _lengths(np.diff(self.offsets)),
            "generators": {count["values"]: count["counts"] for count in counts},
        }

    @cached_property
    def _rows_by_input(self) -> list[NDArray[np.int64]]:
        return np.split(np.argsort(self.input_indices, kind="stable"), np.cumsum(self.per_input)[:-1])

    @cached_property
    def _index_of_input(self) -> dict[str, int]:
        return {input_id: index for index, input_id in enumerate(self.inputs)}

    def _unfinished(self, eos_id: int | None) -> float | None:
        nonempty = np.flatnonzero(np.diff(self.offsets))  # an API teacher's text may have no token ids
        if eos_id is None or not nonempty.size:
            return None
        return float(np.mean(self.token_ids[self.offsets[nonempty + 1] - 1] != eos_id))

    def _logprob_per_token(self) -> float | None:
        known = np.isfinite(self.logprobs)
        tokens = int(np.diff(self.offsets)[known].sum())
        return float(self.logprobs[known].sum() / tokens) if tokens else None


def _lengths(lengths: NDArray[np.int64]) -> TokenLengths | None:
    if not lengths.any():
        return None
    low, middle, high = (float(value) for value in np.percentile(lengths, (5, 50, 95)))
    # Lengths are integers: bins need an integer width, or some bins of the histogram are always empty.
    width = max(1, -(-int(np.ptp(lengths) + 1) // 30))
    counts, edges = np.histogram(lengths, np.arange(lengths.min(), lengths.max() + width + 1, width) - 0.5)
    return {
        "mean": float(lengths.mean()),
        "p5": low,
        "p50": middle,
        "p95": high,
        "max": int(lengths.max()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _refuse_repeated_samples(folder: Path, table: pa.Table) -> None:
    names = ["input_id", "generator", "round", "sample"]
    columns = [codes_of(table[name]) if name in names[:2] else table[name].to_numpy() for name in names]
    order = np.lexsort(columns)  # not Arrow's groups, which keep 250 bytes per row of the process's memory
    again = np.ones(max(0, len(order) - 1), dtype=bool)
    for column in columns:
        again &= column[order][1:] == column[order][:-1]
    if again.any():
        row = table.slice(int(order[1:][again].min()), 1).select(names).to_pylist()[0]
        same = [pc.equal(table[name], row[name]) for name in names]
        count = pc.sum(reduce(pc.and_, same)).as_py()
        raise PoolError(
            f"the pool in {folder} has sample {row['sample']} of input {row['input_id']!r} ({row['generator']}, "
            f"round {row['round']}) {count} times, so files of two pools were mixed; delete the folder "
            "and generate the pool again"
        )
