"""What every stage of one run shares."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from understudy.config.recipe import Recipe
from understudy.config.training import Precision
from understudy.progress import Progress
from understudy.store import Store

STORE = "store"
"""Folder beside the runs in which finished stages lie, shared by all of them."""


@dataclass(frozen=True)
class Bench:
    """A recipe, where its stages go, and who hears about them."""

    recipe: Recipe
    store: Store
    progress: Progress
    precision: Literal["float32", "bf16"]
    """Of training on this machine: float32 or bf16."""


def fast_precision(asked: Precision) -> Literal["float32", "bf16"]:
    """The precision of training on this machine.

    `auto` is bf16 where the device computes in it: CUDA since Ampere, CPUs with AVX512-BF16 or AMX.
    """
    if asked == "auto":
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_computes_bf16()
        return "bf16" if fast else "float32"
    return asked


def _cpu_computes_bf16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and bool({"avx512_bf16", "amx_bf16"} & set(flags.read_text().split()))
