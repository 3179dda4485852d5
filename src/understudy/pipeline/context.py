"""What all stages of a run share but their fields: the store, progress, the device, the API teacher's limits."""

from dataclasses import dataclass
from pathlib import Path

import torch

from understudy.config.conflicts import STAGE_CACHE
from understudy.config.endpoint import Endpoint
from understudy.config.training import Precision
from understudy.progress import Progress
from understudy.store import Store, WorkerContext
from understudy.training.step import AutocastPrecision

STORE = STAGE_CACHE
"""Folder next to the runs in which finished stages lie; all runs share it."""
NETWORK = "network"
"""Folder of a stage that holds a network with its tokenizer, in the Hugging Face layout."""


@dataclass(frozen=True)
class RunContext(WorkerContext):
    """The context of stages that run in the process of the run."""

    store: Store
    endpoint: Endpoint | None = None
    """The API teacher's server with its limits on requests, where the recipe has one."""
    strict: bool = False
    """Whether what would be a warning before training is an error."""


def run_context(
    out: Path,
    progress: Progress,
    *,
    wait: bool = False,
    allow_code: bool = False,
    endpoint: Endpoint | None = None,
    strict: bool = False,
) -> RunContext:
    """The context of a run whose folders lie in `out`."""
    return RunContext(Store(out / STORE, wait=wait), progress, allow_code, endpoint=endpoint, strict=strict)


def default_device() -> str:
    """The device on which networks generate and score: CUDA where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(requested: Precision) -> AutocastPrecision:
    """The precision of training on this machine.

    `auto` is bf16 on CUDA since Ampere, else float32. On a CPU with AVX512-BF16, autocast trained the demo's teacher
    (2.3 M parameters) half as fast as float32 did; for large networks `bf16` can be requested.
    """
    if requested == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    return requested
