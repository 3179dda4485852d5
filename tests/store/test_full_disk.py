"""A full disk is one sentence, whichever library noticed it; other errors stay as they are."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from understudy.errors import PoolError, StoreError
from understudy.store import Stage, WorkerContext
from understudy.store.store import make


def chained(error: Exception, before: Exception) -> Exception:
    """An error that was raised while another one was handled."""
    error.__context__ = before
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_DISK = {
    "system": FULL,
    "handled": chained(RuntimeError("unexpected pos 704 vs 598"), FULL),
    "quota": OSError(errno.EDQUOT, "Quota exceeded"),
    "words": ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
}
OTHERS = {
    "sentence": chained(PoolError("disk full while writing"), FULL),
    "permission": OSError(errno.EACCES, "Permission denied"),
}


READ_ONLY = {
    "permission of a file": OSError(errno.EACCES, "Permission denied"),
    "mounted read-only": OSError(errno.EROFS, "Read-only file system"),
}
"""Errors of a file in the store."""


@dataclass(frozen=True)
class Breaks(Stage[Any]):
    """Raises one of the errors above."""

    error: str
    name: ClassVar[str] = "breaks"

    def run(self, folder: Path, context: WorkerContext) -> None:
        """Fails."""
        raise {**FULL_DISK, **OTHERS}[self.error]


@dataclass(frozen=True)
class CannotWrite(Stage[Any]):
    """Raises one of the errors of files in its folder."""

    error: str
    name: ClassVar[str] = "cannot_write"

    def run(self, folder: Path, context: WorkerContext) -> None:
        """Fails."""
        found = READ_ONLY[self.error]
        raise OSError(found.errno, found.strerror, str(folder / "weights"))


@pytest.mark.parametrize("error", FULL_DISK)
def test_a_full_disk_is_a_store_error(context: WorkerContext, error: str) -> None:
    """Whichever library noticed it: the message has what is left, where, and that the next run resumes."""
    with pytest.raises(StoreError, match=r"disk is full: \d+ MB .*store; free some space and run the same command"):
        make(Breaks(error), context)


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_keep_their_class_and_message(context: WorkerContext, error: str) -> None:
    """An error that already says what to do about a full disk, and one that has nothing to do with it."""
    with pytest.raises(type(OTHERS[error]), match=r"disk full while writing|Permission denied"):
        make(Breaks(error), context)


@pytest.mark.parametrize("error", READ_ONLY)
def test_a_store_that_cannot_be_written_is_a_store_error(context: WorkerContext, error: str) -> None:
    """The message has the file, the system's reason and the way out."""
    with pytest.raises(StoreError, match=rf"weights cannot be written \({READ_ONLY[error].strerror}\); make .*--out"):
        make(CannotWrite(error), context)
