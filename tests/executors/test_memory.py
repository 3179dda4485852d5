"""What a process frees goes back to the system, so that its memory does not grow with batches of many sizes."""

import subprocess
import sys

import pytest

GROW = """
import psutil, sys
from understudy.executors._memory import return_freed_memory
if sys.argv[1] == "fixed":
    return_freed_memory()
large = bytearray(30_000_000)
del large  # without a fixed size, blocks of up to 30 MB now come from the heap
kept, blocks = [], []
for number in range(20):
    blocks.append(bytearray(10_000_000))
    kept.append(bytearray(100_000))
blocks.clear()
print(psutil.Process().memory_info().rss // 1_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_blocks_are_returned_between_small_ones() -> None:
    """By default 200 MB stay with the process, because small blocks that are in use lie above them."""
    grown, fixed = (
        int(subprocess.run([sys.executable, "-c", GROW, mode], capture_output=True, check=True, text=True).stdout)
        for mode in ("default", "fixed")
    )

    assert fixed < grown - 100
