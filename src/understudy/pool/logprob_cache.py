"""The teacher logits cache on disk, as log-probabilities of the most probable tokens at every position of many texts.

Rows of different lengths (logprob_rows.py) are appended to one file, and their counts to another. Both are
memory-mapped when they are read, so a batch loads no more than its own positions. A fingerprint ties a cache to the
teacher, sources and texts it was computed from. How log-probabilities are computed is in training/teacher_logprobs.py.
Axes: P positions of all texts, one text after the other; N positions of a batch; K kept tokens, most probable first.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from understudy.errors import PoolError
from understudy.pool.logprob_rows import Bytes, RowFormat, filled, pack_rows, row_format, unpack_rows
from understudy.store.disk import READ_BYTES, read_json, write_json

ROWS, COUNTS, METADATA = "rows.bin", "counts.bin", "cache.json"
BLOCK = 64
"""Positions between two known row starts: those between are summed up when a batch is read."""
PART = 1 << 16
"""Positions read or packed at once."""
PART_TOKENS = 1 << 20
"""Kept tokens packed at once at most: packing takes about 100 bytes of memory for each."""


@dataclass(frozen=True, eq=False)
class TeacherLogprobs:
    """Sparse teacher log-probabilities in memory: the kept tokens of every position, normalized over the vocabulary."""

    ids_PK: NDArray[np.int32]
    logp_PK: NDArray[np.float16 | np.float32]
    """In nats; half precision keeps three digits. Minus infinity where a position has fewer than K tokens."""
    lost_P: NDArray[np.float32] | None = None
    """The divergence that truncation loses at each position, in nats, and nan where it was not measured."""

    @classmethod
    def empty(cls, positions: int, top_k: int) -> Self:
        """Arrays to fill, in half precision."""
        return cls(np.zeros((positions, top_k), np.int32), np.zeros((positions, top_k), np.float16))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The positions of several parts, one part after the other; a single part is returned without a copy."""
        if len(parts) == 1:
            return parts[0]
        return cls(np.concatenate([part.ids_PK for part in parts]), np.concatenate([part.logp_PK for part in parts]))

    def at(self, positions_N: NDArray[np.integer]) -> Self:
        """Only these positions."""
        return type(self)(self.ids_PK[positions_N], self.logp_PK[positions_N])


@dataclass(frozen=True)
class CacheTotals:
    """Sums over the positions that are on disk."""

    positions: int = 0
    kept: int = 0
    """Tokens."""
    row_bytes: int = 0
    count_bytes: int = 0
    mass: float = 0.0
    """Probability of the kept tokens."""
    lost: float = 0.0
    """Divergence that truncation loses, in nats, over the positions where it was measured."""
    measured: int = 0
    """Positions of `lost`."""


@dataclass(frozen=True, eq=False)
class PackedRows:
    """The bytes of some positions as they are written to disk, and their sums."""

    rows_B: Bytes
    counts_P: NDArray[np.int64]
    mass: float
    lost: float
    measured: int


def packed(logprobs: TeacherLogprobs, layout: RowFormat) -> Iterator[PackedRows]:
    """Packs positions, a limited number at once."""
    positions = max(1, min(PART, PART_TOKENS // max(1, logprobs.ids_PK.shape[-1])))
    for start in range(0, len(logprobs.ids_PK), positions):
        part = slice(start, start + positions)
        logp_PK = logprobs.logp_PK[part]
        mass_P = np.minimum(np.exp(logp_PK.astype(np.float64)).sum(axis=1), 1.0)
        lost_P = np.zeros(0) if logprobs.lost_P is None else logprobs.lost_P[part].astype(np.float64)
        lost_P = lost_P[~np.isnan(lost_P)]
        rows = pack_rows(logprobs.ids_PK[part], logp_PK, layout)
        yield PackedRows(*rows, float(mass_P.sum()), float(lost_P.sum()), len(lost_P))


@dataclass(eq=False)
class LogprobCacheFile:
    """A log-probability cache that is being written and can be resumed after an interruption."""

    folder: Path
    fingerprint: str
    """Of what the positions belong to; `read_logprob_cache` requires the same."""
    layout: RowFormat
    shape: dict[str, int]
    """K and the vocabulary's size: what a reader needs to know in addition."""
    totals: CacheTotals = CacheTotals()
    done: int = 0
    """How many units of work are on disk, as the writer counts them."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        top_k: int,
        vocab_size: int,
        fingerprint: str,
        dtype: type[np.float16 | np.float32] = np.float16,
    ) -> Self:
        """Creates a cache, or reopens the one an interrupted attempt left.

        Args:
            folder: of the files.
            top_k: K, the most tokens that are kept of a position.
            vocab_size: all ids are smaller; it decides how many bits an id has.
            fingerprint: of teacher, sources and texts. A cache with another one, or of another format, is overwritten.
            dtype: of the log-probabilities. Half precision is enough where many tokens are kept; where an API returns
                only a few, its rounding would be the larger error.

        Raises:
            PoolError: if ids of the vocabulary need more than 24 bits.
        """
        layout, shape = row_format(vocab_size, dtype), {"top_k": top_k, "vocab_size": vocab_size}
        file = cls(folder, fingerprint, layout, shape)
        if (folder / METADATA).is_file():
            found = cast("dict[str, Any]", read_json(folder / METADATA))
            if found["fingerprint"] == fingerprint and found["layout"] == file.metadata()["layout"]:
                file.totals, file.done = CacheTotals(**found["totals"]), int(found["done"])
        for name, size in ((ROWS, file.totals.row_bytes), (COUNTS, file.totals.count_bytes)):
            with (folder / name).open("ab") as opened:
                opened.truncate(size)  # what an interrupted attempt wrote after its last commit is written again
        return file

    def append(self, logprobs: TeacherLogprobs, *, done: int) -> None:
        """As `append_packed`, of positions that are not packed."""
        self.append_packed(packed(logprobs, self.layout), done=done)

    def append_packed(self, parts: Iterable[PackedRows], *, done: int) -> None:
        """Writes further positions to disk and records that `done` units of work are finished.

        Args:
            parts: the positions that follow those on disk.
            done: as the writer counts.
        """
        with (self.folder / ROWS).open("ab") as rows, (self.folder / COUNTS).open("ab") as counts:
            for part in parts:
                self._append_part(part, rows, counts)
            for opened in (rows, counts):
                opened.flush()
                os.fsync(opened.fileno())
        self.done = done
        write_json(self.folder / METADATA, self.metadata())

    def _append_part(self, part: PackedRows, rows: BinaryIO, counts: BinaryIO) -> None:
        kept_P, old = part.counts_P.astype(count_type(self.shape["top_k"])), self.totals
        rows.write(part.rows_B.data)
        counts.write(kept_P.data)
        self.totals = CacheTotals(
            old.positions + len(kept_P),
            old.kept + int(part.counts_P.sum()),
            old.row_bytes + part.rows_B.nbytes,
            old.count_bytes + kept_P.nbytes,
            old.mass + part.mass,
            old.lost + part.lost,
            old.measured + part.measured,
        )

    def metadata(self) -> dict[str, object]:
        """What a reader needs to know, and where a writer resumes."""
        layout = {"upper_bits": self.layout.upper_bits, "logp": self.layout.logp.str}
        return {
            "done": self.done,
            "fingerprint": self.fingerprint,
            "layout": layout | self.shape,
            "totals": asdict(self.totals),
        }


def count_type(top_k: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The type of counts: one byte, unless more than 255 tokens may be kept."""
    return np.dtype("u1" if top_k < 1 << 8 else "<u4")


@dataclass(frozen=True, eq=False)
class LogprobCache:
    """A finished cache, memory-mapped."""

    rows_B: Bytes
    counts_P: NDArray[np.integer]
    block_starts: NDArray[np.int64]
    """Where every `BLOCK`-th row begins."""
    layout: RowFormat
    top_k: int
    vocab_size: int

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens a finished cache; it needs an eighth of a byte of memory per position."""
        about = cast("dict[str, Any]", read_json(folder / METADATA))["layout"]
        layout = RowFormat(about["upper_bits"], np.dtype(about["logp"]))
        counts_P = _mapped(folder / COUNTS, count_type(about["top_k"]))
        sizes = [
            np.add.reduceat(layout.sizes(part_P), np.arange(0, len(part_P), BLOCK))
            for start in range(0, len(counts_P), PART)
            if len(part_P := counts_P[start : start + PART])
        ]
        ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
        return cls(_mapped(folder / ROWS, np.dtype("u1")), counts_P, ends, layout, about["top_k"], about["vocab_size"])

    def at(self, positions_N: NDArray[np.integer]) -> TeacherLogprobs:
        """The rows of these positions, unpacked; absent entries have minus infinity and ids that the row lacks."""
        block_N, place_N = positions_N // BLOCK, positions_N % BLOCK
        inside_NJ = np.minimum(block_N[:, None] * BLOCK + np.arange(BLOCK), len(self.counts_P) - 1)
        before_NJ = np.arange(BLOCK) < place_N[:, None]
        starts_N = self.block_starts[block_N] + (self.layout.sizes(self.counts_P[inside_NJ]) * before_NJ).sum(axis=1)
        counts_N = np.asarray(self.counts_P[positions_N])
        ids_NK, logp_NK = unpack_rows(self.rows_B, starts_N, counts_N, self.layout, width=self.top_k)
        return TeacherLogprobs(filled(ids_NK, counts_N, self.vocab_size), logp_NK)


AnyLogprobs = TeacherLogprobs | LogprobCache
"""Log-probabilities in memory or on disk: both have `at`."""


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


def read_logprob_cache(folder: Path, *, positions: int, fingerprint: str) -> LogprobCache:
    """Opens a finished cache, memory-mapped.

    Args:
        folder: of the files.
        positions: number of positions of the texts it is used for.
        fingerprint: of teacher, sources and texts, as given when the cache was written.

    Raises:
        PoolError: if the cache was computed from something else.
    """
    cache = LogprobCache.open(folder)
    found = str(read_json(folder / METADATA)["fingerprint"])
    if found != fingerprint or len(cache.counts_P) != positions:
        raise PoolError(
            f"the log-probability cache in {folder} has {len(cache.counts_P)} positions and fingerprint {found}, but "
            f"the texts have {positions} positions and fingerprint {fingerprint}; delete the folder and run again"
        )
    return cache


@contextmanager
def unordered_logprobs(folder: Path, *, positions: int, top_k: int) -> Iterator[TeacherLogprobs]:
    """Arrays on disk, in single precision, for a writer that fills positions in any order; they are deleted at the end.

    Args:
        folder: of the files, which need 8 bytes per token and position.
        positions: number of positions.
        top_k: K.
    """
    paths = folder / "unordered_ids.npy", folder / "unordered_logp.npy"
    arrays = [
        np.lib.format.open_memmap(path, "w+", dtype, (positions, top_k))
        for path, dtype in zip(paths, (np.int32, np.float32), strict=True)
    ]
    for path in paths:  # a full disk raises here; in mapped memory it is a SIGBUS
        with path.open("r+b") as file:
            _allocate(file, path.stat().st_size)
    yield TeacherLogprobs(*arrays)
    for path in paths:
        path.unlink()


def _allocate(file: BinaryIO, size: int) -> None:
    """Allocates the disk blocks of the whole file, so that a full disk raises an OSError here."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    file.seek(0, os.SEEK_SET)  # macOS has no posix_fallocate: rewrite the present content
    while block := file.read(READ_BYTES):
        file.seek(-len(block), os.SEEK_CUR)
        file.write(block)
    os.fsync(file.fileno())
