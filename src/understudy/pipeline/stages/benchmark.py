"""The stage of what the systems cost to run, measured in turn on the task's inputs."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from understudy.config.decoding import Decoding
from understudy.evaluation.efficiency import BenchmarkedSystem, Workload, measure_all
from understudy.generation.engine import cores
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.context import NETWORK, default_device
from understudy.pipeline.model_sources import FromStage, load_task_tokenizer
from understudy.pipeline.stages.conversion import ConversionStage
from understudy.pipeline.stages.data import load_split
from understudy.records import Efficiency
from understudy.report.facts import TEACHER
from understudy.store import Content, Stage, WorkerContext

BENCHMARK_THREADS = 1
"""Of a measurement: with two, a small network took 134 ms for one input instead of 6."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """How systems are timed."""

    decoding: Decoding
    latency_inputs: int
    batch_inputs: int
    repeats: int


@dataclass(frozen=True)
class BenchmarkFacts:
    """The cost of each system."""

    costs: dict[str, Efficiency]
    machine: str
    """The machine, for people."""


@dataclass(frozen=True)
class BenchmarkStage(Stage[BenchmarkFacts]):
    """Latency, throughput and memory of systems on this machine."""

    systems: tuple[tuple[str, ConversionStage], ...]
    test: Content
    settings: BenchmarkSettings
    limits: TextLimits
    machine: tuple[str, ...]
    """The cost on another machine is another result."""
    teacher_limits: TextLimits | None = None
    """How the teacher reads the task, where it has a prompt of its own."""
    name: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 2
    in_caller: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> BenchmarkFacts:  # noqa: ARG002 - all is in the facts
        """Measures each system in processes of its own."""
        settings = self.settings
        inputs = max(settings.latency_inputs, settings.batch_inputs * 4)
        examples = load_split(context.path(self.test), "test")[:inputs]
        systems = {}
        for name, converted in self.systems:
            limits = (self.teacher_limits if name == TEACHER else None) or self.limits
            tokenizer = load_task_tokenizer(FromStage(converted.network), limits, context)
            workload = Workload(
                sources=tuple(map(tuple, tokenizer.encode_sources(examples))),
                decoding=settings.decoding,
                max_tokens=self.limits.max_target_tokens,
                engine=context.facts(converted).engine,
                batch_size=settings.batch_inputs,
                latency_inputs=settings.latency_inputs,
                threads=BENCHMARK_THREADS,
                device=default_device(),
            )
            checkpoint = context.folder(converted.network) / NETWORK
            systems[name] = BenchmarkedSystem(checkpoint, context.folder(converted), workload)
        measurements = settings.repeats * len(systems)
        with context.progress.track("latency, throughput, memory", measurements, "system") as progress:
            measured = measure_all(systems, repeats=settings.repeats, progress=progress)
        return BenchmarkFacts(dict(measured), describe_machine())


def this_machine() -> tuple[str, ...]:
    """What a measurement depends on: processor, device, cores, threads."""
    return platform.machine(), default_device(), str(cores()), str(BENCHMARK_THREADS)


def describe_machine() -> str:
    """Processor, cores, memory, device and system, as far as they are known."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    device = torch.cuda.get_device_name() if default_device().startswith("cuda") else default_device()
    parts = (
        _processor(),
        f"{cores()} cores",
        f"{memory:.0f} GB of memory" if memory else "",
        "" if device == "cpu" else device,
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
    )
    return ", ".join(filter(None, parts))


def _processor() -> str:
    """The processor's name; Linux gives it in a file only."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@contextmanager
def few_threads() -> Iterator[None]:
    """Within, torch has as few threads as every measurement of cost."""
    before = torch.get_num_threads()
    torch.set_num_threads(BENCHMARK_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
