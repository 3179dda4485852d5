"""The pool: all pseudo-targets of a folder, as rows and as columns.

Columns are for those who train on it (a quarter of a million rows at once), rows for those who look at
it. Reads only; shards are written in `shards.py`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from understudy.errors import PoolError
from understudy.pool.shards import PoolFile, read_shard
from understudy.records import PseudoTarget


class TokenLengths(TypedDict):
    """Lengths in tokens, the end-of-sequence token included."""

    mean: float
    p5: float
    p50: float
    p95: float
    max: int
    edges: list[float]
    """Borders of the histogram's bins: one more than `counts`."""
    counts: list[int]


class PoolStatistics(TypedDict):
    """What a pool holds, ready for JSON. Shares lie in 0..1; None: cannot be told."""

    texts: int
    inputs: int
    per_input: float
    """Mean texts per input."""
    duplicates: float
    """Share of texts that repeat another text of the same input."""
    distinct: float
    """Distinct texts in the whole pool, per text."""
    unfinished: float | None
    """Share of texts cut by the length limit."""
    logprob_per_token: float | None
    """Mean in nats over the tokens of all texts with a known log-probability."""
    lengths: TokenLengths | None
    generators: dict[str, int]
    """Texts by who wrote them."""


@dataclass(frozen=True, eq=False)
class PseudoTargetPool:
    """Pseudo-targets that belong together: they agree in their provenance, and no sample occurs twice."""

    folder: Path
    provenance: Mapping[str, str]
    table: pa.Table
    """The rows of all shards in the order of the shards' names; columns as in `shards.SCHEMA`."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read all shards (`*.parquet`) of a folder.

        Raises:
            PoolError: if there is none, one is damaged, two differ in provenance, or a sample occurs twice.
        """
        shards = [read_shard(path) for path in sorted(folder.glob("*.parquet"))]
        if not shards:
            raise PoolError(
                f"no pool shard (*.parquet) in {folder}; check the path, or let the teacher write the pool first"
            )
        for other in shards[1:]:
            _refuse_strangers(shards[0], other)
        # In one piece: to take a few rows out of many chunks would walk through all of them.
        table = pa.concat_tables([shard.table for shard in shards]).combine_chunks()
        _refuse_repeated_samples(folder, table)
        return cls(folder, shards[0].provenance, table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[PseudoTarget]:
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from _rows(batch)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The ids of the inputs, in the order of their first text."""
        return tuple(self.table["input_id"].unique().to_pylist())

    @cached_property
    def input_indices(self) -> NDArray[np.int64]:
        """Shape (rows,): the place of each row's input in `inputs`."""
        found = pc.index_in(self.table["input_id"], value_set=self.table["input_id"].unique())
        return np.asarray(found.to_numpy(), dtype=np.int64)

    @cached_property
    def per_input(self) -> NDArray[np.int64]:
        """Shape (inputs,): how many texts each input of `inputs` has."""
        return np.bincount(self.input_indices, minlength=len(self.inputs)).astype(np.int64)

    @property
    def input_ids(self) -> list[str]:
        """The input of each row."""
        return list(self.table["input_id"].to_pylist())

    @property
    def texts(self) -> list[str]:
        """The text of each row."""
        return list(self.table["text"].to_pylist())

    @cached_property
    def token_ids(self) -> NDArray[np.int32]:
        """Shape (tokens,): the token ids of all rows, one after the other; `offsets` cuts them."""
        return np.asarray(pc.list_flatten(self.table["token_ids"]).to_numpy(), dtype=np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Shape (rows + 1,): row i holds `token_ids[offsets[i]:offsets[i + 1]]`."""
        lengths = pc.list_value_length(self.table["token_ids"]).to_numpy()
        return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))

    @cached_property
    def logprobs(self) -> NDArray[np.float64]:
        """Shape (rows,): sequence log-probabilities in nats; nan where the engine could not tell."""
        return np.asarray(self.table["logprob"].to_numpy(), dtype=np.float64)

    def row(self, place: int) -> PseudoTarget:
        """The pseudo-target of one row, 0 <= place < len(pool)."""
        return _rows(self.table.slice(place, 1))[0]

    def targets_of(self, input_id: str) -> list[PseudoTarget]:
        """The texts of one input, in the pool's order.

        Raises:
            PoolError: if the pool has no text of this input.
        """
        place = self._places.get(input_id)
        if place is None:
            raise PoolError(
                f"the pool in {self.folder} has no text for input {input_id!r}; it holds {len(self.inputs)} "
                "inputs, write the pool again with this input among them"
            )
        return _rows(self.table.take(self._rows_by_input[place]))

    def statistics(self, *, eos_id: int | None = None) -> PoolStatistics:
        """Count what the pool holds.

        Args:
            eos_id: the token that ends a finished text; without it `unfinished` is None.
        """
        texts = len(self)
        pairs = self.table.group_by(["input_id", "text"]).aggregate([]).num_rows
        counts = self.table["generator"].value_counts().to_pylist()
        return {
            "texts": texts,
            "inputs": len(self.inputs),
            "per_input": texts / max(len(self.inputs), 1),
            "duplicates": 1 - pairs / texts if texts else 0.0,
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
    def _places(self) -> dict[str, int]:
        return {input_id: place for place, input_id in enumerate(self.inputs)}

    def _unfinished(self, eos_id: int | None) -> float | None:
        filled = np.flatnonzero(np.diff(self.offsets))  # an endpoint's text may come without token ids
        if eos_id is None or not filled.size:
            return None
        return float(np.mean(self.token_ids[self.offsets[filled + 1] - 1] != eos_id))

    def _logprob_per_token(self) -> float | None:
        known = np.isfinite(self.logprobs)
        tokens = int(np.diff(self.offsets)[known].sum())
        return float(self.logprobs[known].sum() / tokens) if tokens else None


def mark_copies(targets: Sequence[PseudoTarget]) -> list[PseudoTarget]:
    """The same rows, each told how many of its input's rows have its very text."""
    copies = Counter((target.input_id, target.text) for target in targets)
    return [replace(target, copies=copies[target.input_id, target.text]) for target in targets]


def _rows(table: pa.Table | pa.RecordBatch) -> list[PseudoTarget]:
    return [PseudoTarget(**row | {"token_ids": tuple(row["token_ids"])}) for row in table.to_pylist()]


def _lengths(lengths: NDArray[np.int64]) -> TokenLengths | None:
    if not lengths.any():
        return None
    low, middle, high = (float(value) for value in np.percentile(lengths, (5, 50, 95)))
    # Lengths are whole numbers: bins of one whole width, or the histogram grows a comb of empty bins.
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


def _refuse_strangers(first: PoolFile, other: PoolFile) -> None:
    differing = [
        f"{key} is {first.provenance.get(key)!r} there and {other.provenance.get(key)!r} here"
        for key in sorted(first.provenance.keys() | other.provenance.keys())
        if first.provenance.get(key) != other.provenance.get(key)
    ]
    if differing:
        raise PoolError(
            f"pool shards {first.path} and {other.path} do not belong together: {'; '.join(differing)}; "
            "move the shards of one of them to a folder of their own"
        )


def _refuse_repeated_samples(folder: Path, table: pa.Table) -> None:
    names = ["input_id", "generator", "round", "sample"]
    counts = table.group_by(names).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()
    if repeated:
        row = repeated[0]
        raise PoolError(
            f"the pool in {folder} holds sample {row['sample']} of input {row['input_id']!r} ({row['generator']}, "
            f"round {row['round']}) {row['count_all']} times; two ways of cutting the inputs into shards were "
            "mixed, delete the folder and write the pool again"
        )
