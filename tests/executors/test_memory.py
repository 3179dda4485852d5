"""What a process frees goes back to the system, so that its memory does not grow with batches of many sizes."""

import os
import subprocess
import sys

import pytest
import torch

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch does not annotate it
MODES = ("fixed", "default")
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
import sys, torch
from understudy.executors._memory import return_freed_memory
if sys.argv[1] == "fixed":
    return_freed_memory()
for size in [*range(100), 0]:
    torch.nn.functional.gelu(torch.zeros(100 + size, 512))
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


def output(code: str, mode: str = "", **more: str) -> str:
    """What a new process prints."""
    own = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    command = [sys.executable, "-c", code, mode]
    return subprocess.run(command, capture_output=True, check=True, text=True, env=own | more).stdout


def printed(code: str, mode: str = "") -> int:
    """The number that a new process prints."""
    return int(output(code, mode))


@pytest.mark.skipif(not HAS_ONEDNN, reason="torch was built without oneDNN")
def test_operations_on_batches_of_many_sizes_are_not_all_kept() -> None:
    """By default the operation of the first of 100 sizes is still there when the size comes again.

    What oneDNN keeps for a size is 40 kB to 1.4 MB with the pages of the system, so that megabytes are no fact.
    """
    compiled = {mode: output(SIZES, mode, ONEDNN_VERBOSE="profile_create").count("cache_miss") for mode in MODES}
    assert compiled == {"fixed": 101, "default": 100}


@pytest.mark.skipif(sys.platform != "linux", reason="a function of glibc")
def test_free_pages_between_blocks_in_use_are_returned() -> None:
    """Every hundredth of 200,000 blocks of 1 kB is still in use; most of the 200 MB go back."""
    assert printed(HOLES) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_blocks_are_returned_between_small_ones() -> None:
    """By default 200 MB stay with the process, because small blocks that are in use lie above them."""
    assert printed(GROW, "fixed") < printed(GROW, "default") - 100
