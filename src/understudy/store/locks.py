"""Locks between processes that share a store: one process makes a stage, others wait for it or are refused.

Lock files stay in the folder after use: deleting one that another process waits for would split its lock in two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from understudy.errors import StoreError


@contextmanager
def hold(path: Path, *, wait: bool, making: Path) -> Iterator[None]:
    """Holds a lock file; the system releases it when the process ends.

    Args:
        path: of the lock file; its folder exists.
        wait: whether to wait until no other process holds it.
        making: what the lock protects, for the error.

    Raises:
        StoreError: if another process holds it and it is not to be waited for.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"another process is making {making.name} in {making.parent}; wait for it and run the same command again, "
            "or choose another folder with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
