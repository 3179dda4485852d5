"""What the machine has: processor, memory, disk, GPUs, and the precision and the engines that they allow.

It loads torch and the engines; what is missing before that is `installation`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from understudy.generation import ENGINES
from understudy.generation.ctranslate_settings import compute_types
from understudy.generation.engine import allowed_threads, cores
from understudy.pipeline.calibration import processor
from understudy.pipeline.context import STORE, default_device, resolve_precision

LIBRARY_OF = {"hf": "transformers", "endpoint": "openai"}
"""Engine -> the package that it needs, where the names differ."""
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls the instructions: of x86 processors the first two, of ARM processors the last."""


@dataclass(frozen=True)
class Gpu:
    """One GPU that torch can use."""

    name: str
    memory_bytes: int
    compute_capability: str


@dataclass(frozen=True)
class EngineFacts:
    """A way to generate text."""

    name: str
    library: str
    version: str | None
    """None: the library is not installed."""
    types: dict[str, tuple[str, ...]]
    """Device -> types of weights."""
    unavailable: str | None = None
    """Why it cannot be used here, with the remedy."""


@dataclass(frozen=True)
class MachineFacts:
    """What a run can use."""

    processor: str
    cores: int
    threads: int
    """Fewer than the cores where OMP_NUM_THREADS is lower."""
    bfloat16_instructions: bool
    """Whether the processor multiplies bfloat16 without converting it (AVX512-BF16 and the like)."""
    memory_bytes: int
    free_memory_bytes: int
    store: str
    """The folder of finished stages."""
    free_disk_bytes: int
    cuda: str | None
    """The version of CUDA that torch was built with."""
    gpus: tuple[Gpu, ...]
    device: str
    precision: str
    """What `precision: auto` is here."""
    engines: tuple[EngineFacts, ...]
    notes: tuple[str, ...]
    """What is not as it could be, with the remedy."""


def machine_facts(out: Path) -> MachineFacts:
    """The machine as a run whose folder is in `out` finds it."""
    memory = psutil.virtual_memory()
    return MachineFacts(
        processor=processor(),
        cores=cores(),
        threads=allowed_threads(),
        bfloat16_instructions=bool(BFLOAT16_FLAGS & _flags()),
        memory_bytes=memory.total,
        free_memory_bytes=memory.available,
        store=str(out / STORE),
        free_disk_bytes=shutil.disk_usage(_existing(out.absolute() / STORE)).free,
        cuda=torch.version.cuda,
        gpus=tuple(_gpus()),
        device=default_device(),
        precision=resolve_precision("auto"),
        engines=tuple(map(_engine, (*ENGINES, "endpoint"))),
        notes=tuple(_notes()),
    )


def _flags() -> set[str]:
    """The names of the processor's optional instructions, where the system lists them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return set(next(found, ()))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: the store may not have been made yet."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _gpus() -> Iterator[Gpu]:
    for index in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(index)
        yield Gpu(one.name, one.total_memory, f"{one.major}.{one.minor}")


def _engine(name: str) -> EngineFacts:
    library = LIBRARY_OF.get(name, name)
    try:
        found = version(library)
    except PackageNotFoundError:
        found = None
    entry = ENGINES.get(name)
    reason = entry.unavailable() if entry else None
    types: dict[str, tuple[str, ...]] = {}
    if found and name == "ctranslate2":
        types = compute_types()
    elif found and entry and reason is None:
        types = {default_device(): tuple(sorted(entry.capabilities.dtypes))}
    return EngineFacts(name, library, found, types, reason)


def _notes() -> Iterator[str]:
    if Path("/dev/nvidia0").exists() and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs only"
        yield (
            f"there is an NVIDIA GPU, but torch {torch.__version__} cannot use it (it is built {built}); install the "
            "build for the machine's driver: https://pytorch.org/get-started/locally"
        )
    if allowed_threads() < cores():
        yield (
            f"OMP_NUM_THREADS limits runs to {allowed_threads()} of {cores()} cores; unset it, unless other processes "
            "need them"
        )
