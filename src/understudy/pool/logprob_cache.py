"""What is kept of a teacher's distributions: its most probable tokens at every position of many texts.

Two memory-mapped arrays beside the texts, never larger in memory than what a batch takes of them. Whoever reads them
names the texts they are meant for; how a teacher is listened to stands in training/listening.py.
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
from understudy.store.disk import BLOCK, read_json, write_json

IDS, LOGP, RECEIPT = "ids.npy", "logp.npy", "signal.json"


@dataclass(frozen=True, eq=False)
class TeacherLogprobs:
    """The kept tokens of every position, and their log-probabilities among all tokens."""

    ids_PK: NDArray[np.int32]
    logp_PK: NDArray[np.float16 | np.float32]
    """In nats; half precision keeps three digits of each, at 6 bytes per kept token with its id, single precision
    seven at 8 bytes. Minus infinity where a position keeps fewer than K."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The positions of several signals, one signal after the other; of one, its own arrays."""
        if len(parts) == 1:
            return parts[0]
        return cls(np.concatenate([part.ids_PK for part in parts]), np.concatenate([part.logp_PK for part in parts]))


@dataclass(frozen=True, eq=False)
class LogprobCacheFile:
    """A signal that is being written, and may be killed."""

    folder: Path
    content: str
    """What the positions are those of; whoever reads the signal must name the same."""
    signal: TeacherLogprobs
    done: int
    """How much of the work is finished, in the writer's count."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        positions: int,
        top: int,
        content: str,
        dtype: type[np.float16 | np.float32] = np.float16,
    ) -> Self:
        """A new file, or the one that a killed attempt left.

        Args:
            folder: where it is written.
            positions: how many the texts have.
            top: K, the tokens that are kept of each.
            content: what the positions are those of; what is left of others is begun anew, as is another `dtype`.
            dtype: of the log-probabilities. Half precision is enough where many tokens are kept; where an endpoint
                names only a few, its rounding would be the larger error.
        """
        receipt, done = folder / RECEIPT, 0
        if receipt.is_file() and read_json(receipt)["content"] == content:
            left = np.load(folder / LOGP, mmap_mode="r")
            done = int(str(read_json(receipt)["done"])) if left.dtype == dtype else 0
        mode: Literal["r+", "w+"] = "r+" if done else "w+"
        ids = np.lib.format.open_memmap(folder / IDS, mode, np.int32, (positions, top))
        logp = np.lib.format.open_memmap(folder / LOGP, mode, dtype, (positions, top))
        for path in (folder / IDS, folder / LOGP):  # a full disk is told here: a write to mapped memory would kill us
            with path.open("r+b") as file:
                _take_room(file, path.stat().st_size)
        return cls(folder, content, TeacherLogprobs(ids, logp), done)

    def finish(self, done: int) -> None:
        """So much is on disk, whatever happens next."""
        for array in (self.signal.ids_PK, self.signal.logp_PK):
            if isinstance(array, np.memmap):
                array.flush()
        write_json(self.folder / RECEIPT, {"done": done, "content": self.content})


def _take_room(file: BinaryIO, size: int) -> None:
    """Makes the disk give the room of a whole file now, or say that it has none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    file.seek(0, os.SEEK_SET)  # macOS: what is there is written once more
    while block := file.read(BLOCK):
        file.seek(-len(block), os.SEEK_CUR)
        file.write(block)
    os.fsync(file.fileno())


def read_logprob_cache(folder: Path, *, positions: int, content: str) -> TeacherLogprobs:
    """The signal of a folder, memory-mapped.

    Args:
        folder: where it was written.
        positions: how many the texts have.
        content: what names teacher, sources and texts; as it was given when the signal was written.

    Raises:
        PoolError: if the signal is another's.
    """
    signal = TeacherLogprobs(np.load(folder / IDS, mmap_mode="r"), np.load(folder / LOGP, mmap_mode="r"))
    found = str(read_json(folder / RECEIPT)["content"])
    if found != content or len(signal.ids_PK) != positions:
        raise PoolError(
            f"the teacher signal in {folder} is that of {len(signal.ids_PK)} positions of texts {found}, and "
            f"{positions} positions of texts {content} are to be taught; delete the folder and run again"
        )
    return signal
