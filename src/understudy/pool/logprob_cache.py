"""The teacher logits cache on disk, as log-probabilities of the most probable tokens at every position of many texts.

Two memory-mapped arrays, so a batch loads no more than its own positions. A fingerprint ties a cache to the teacher,
sources and texts it was computed from. How log-probabilities are computed is in training/teacher_logprobs.py.
Axes: P positions of all texts, one text after the other; K kept tokens, the most probable first.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from understudy.errors import PoolError
from understudy.store.disk import READ_BYTES, read_json, write_json

IDS, LOGP, METADATA = "ids.npy", "logp.npy", "cache.json"


@dataclass(frozen=True, eq=False)
class TeacherLogprobs:
    """Sparse teacher log-probabilities: the kept tokens of every position, normalized over the whole vocabulary."""

    ids_PK: NDArray[np.int32]
    logp_PK: NDArray[np.float16 | np.float32]
    """In nats. Half precision keeps three digits at 6 bytes per kept token with its id, single precision seven digits
    at 8 bytes. Minus infinity where a position has fewer than K tokens."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The positions of several parts, one part after the other; a single part is returned without a copy."""
        if len(parts) == 1:
            return parts[0]
        return cls(np.concatenate([part.ids_PK for part in parts]), np.concatenate([part.logp_PK for part in parts]))


@dataclass(frozen=True, eq=False)
class LogprobCacheFile:
    """A log-probability cache that is being written and can be resumed after an interruption."""

    folder: Path
    fingerprint: str
    """Of what the positions belong to; `read_logprob_cache` requires the same."""
    logprobs: TeacherLogprobs
    done: int
    """How many units of work are on disk, as the writer counts them."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        positions: int,
        top_k: int,
        fingerprint: str,
        dtype: type[np.float16 | np.float32] = np.float16,
    ) -> Self:
        """Creates a cache, or reopens the one an interrupted attempt left.

        Args:
            folder: of the files.
            positions: number of positions of all texts.
            top_k: K, the tokens kept of each.
            fingerprint: of teacher, sources and texts. A cache with another one, or of another `dtype`, is overwritten.
            dtype: of the log-probabilities. Half precision is enough where many tokens are kept; where an API returns
                only a few, its rounding would be the larger error.
        """
        metadata, done = folder / METADATA, 0
        if metadata.is_file() and read_json(metadata)["fingerprint"] == fingerprint:
            existing = np.load(folder / LOGP, mmap_mode="r")
            done = int(str(read_json(metadata)["done"])) if existing.dtype == dtype else 0
        mode: Literal["r+", "w+"] = "r+" if done else "w+"
        ids = np.lib.format.open_memmap(folder / IDS, mode, np.int32, (positions, top_k))
        logp = np.lib.format.open_memmap(folder / LOGP, mode, dtype, (positions, top_k))
        for path in (folder / IDS, folder / LOGP):  # a full disk raises here; in mapped memory it is a SIGBUS
            with path.open("r+b") as file:
                _allocate(file, path.stat().st_size)
        return cls(folder, fingerprint, TeacherLogprobs(ids, logp), done)

    def commit(self, done: int) -> None:
        """Writes everything to disk and records that `done` units of work are finished."""
        for array in (self.logprobs.ids_PK, self.logprobs.logp_PK):
            if isinstance(array, np.memmap):
                array.flush()
        write_json(self.folder / METADATA, {"done": done, "fingerprint": self.fingerprint})


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


def read_logprob_cache(folder: Path, *, positions: int, fingerprint: str) -> TeacherLogprobs:
    """Opens a finished cache, memory-mapped.

    Args:
        folder: of the files.
        positions: number of positions of the texts it is used for.
        fingerprint: of teacher, sources and texts, as given when the cache was written.

    Raises:
        PoolError: if the cache was computed from something else.
    """
    logprobs = TeacherLogprobs(np.load(folder / IDS, mmap_mode="r"), np.load(folder / LOGP, mmap_mode="r"))
    found = str(read_json(folder / METADATA)["fingerprint"])
    if found != fingerprint or len(logprobs.ids_PK) != positions:
        raise PoolError(
            f"the log-probability cache in {folder} has {len(logprobs.ids_PK)} positions and fingerprint {found}, but "
            f"the texts have {positions} positions and fingerprint {fingerprint}; delete the folder and run again"
        )
    return logprobs
