"""What a process frees goes back to the system, so that its memory does not grow with batches of many sizes."""

import os
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


SIZES = """
import psutil, sys, torch
from understudy.executors._memory import return_freed_memory
if sys.argv[1] == "fixed":
    return_freed_memory()
torch.set_num_threads(1)
before = psutil.Process().memory_info().rss
for size in range(1000):
    torch.nn.functional.gelu(torch.zeros(100 + size, 512))
print((psutil.Process().memory_info().rss - before) // 1_000_000)
"""
HOLES = """
import psutil
from understudy.executors._memory import trim
blocks = [bytes(1000) for _ in range(200_000)]
kept = blocks[::100]
del blocks
before = psutil.Process().memory_info().rss
trim()
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""


def printed(code: str, mode: str = "") -> int:
    """The number that a new process prints."""
    own = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    command = [sys.executable, "-c", code, mode]
    return int(subprocess.run(command, capture_output=True, check=True, text=True, env=own).stdout)


def test_operations_on_batches_of_many_sizes_are_not_all_kept() -> None:
    """By default 1,000 sizes of one operation leave hundreds of MB."""
    assert printed(SIZES, "fixed") < printed(SIZES, "default") - 50


@pytest.mark.skipif(sys.platform != "linux", reason="a function of glibc")
def test_free_pages_between_blocks_in_use_are_returned() -> None:
    """Every hundredth of 200,000 blocks of 1 kB is still in use; most of the 200 MB go back."""
    assert printed(HOLES) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_blocks_are_returned_between_small_ones() -> None:
    """By default 200 MB stay with the process, because small blocks that are in use lie above them."""
    assert printed(GROW, "fixed") < printed(GROW, "default") - 100
