"""The memory of a process that makes stages: what is freed goes back to the system."""

import ctypes
import os
import sys
from collections.abc import Callable

MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of `mallopt`, glibc."""
LARGE_BYTES = 1 << 20
PRIMITIVES = 64
"""Compiled operations that oneDNN keeps, one for each kind and size; more than a network has at one batch size."""


def return_freed_memory() -> None:
    """Limits what libraries keep of the memory that is freed; called before the first stage.

    glibc maps blocks from a fixed size on by themselves. By default the size rises to that of the largest block that
    was freed. Batches of a training differ in size, so that the heap fragments: 120 steps of a tiny network grew from
    0.69 to 1.15 GB, and to 0.79 GB with a fixed size, in the same time.

    oneDNN keeps 1024 compiled operations by default, one for each size of a batch, of which hardly any comes again:
    1000 batches of one GELU grew by 120 MB, and by 30 MB with this limit, in the same time.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))  # read at the first operation
    from understudy.columns import allocate_from_system  # a worker loads pyarrow with its first stage

    allocate_from_system()
    if mallopt := _of_glibc("mallopt"):
        mallopt(MMAP_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Returns the free pages between small blocks that are in use; called after each stage."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    return found  # musl has neither
