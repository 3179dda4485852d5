"""What every stage of one run shares."""

from dataclasses import dataclass
from pathlib import Path

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
    precision: str
    """As accelerate names it: "no" is float32."""


def fast_precision(asked: Precision) -> str:
    """The precision of training on this machine, as accelerate names it.

    `auto` is bf16 where the device computes in it: CUDA since Ampere, CPUs with AVX512-BF16 or AMX.
    """
    if asked == "auto":
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_computes_bf16()
        return "bf16" if fast else "no"
    return {"float32": "no", "bf16": "bf16"}[asked]


def _cpu_computes_bf16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and bool({"avx512_bf16", "amx_bf16"} & set(flags.read_text().split()))
