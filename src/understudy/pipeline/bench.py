"""What every stage of one run shares."""

from dataclasses import dataclass
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
    left: str = ""
    """Which examples both networks can read whole, as a key; empty where they can read all."""


def device_here() -> str:
    """Where networks are put that no training holds."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_precision(asked: Precision) -> Literal["float32", "bf16"]:
    """The precision of training on this machine.

    `auto` is bf16 on CUDA since Ampere, else float32. On a CPU with AVX512-BF16 autocast trained the demo's teacher
    (2.3 M parameters) half as fast as float32 did; for large networks `bf16` can be asked for.
    """
    if asked == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    return asked
