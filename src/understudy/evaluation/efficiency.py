"""Latency, throughput and memory of systems: each measurement in a fresh process, all systems in turn.

A process that has held one model keeps its memory, threads and caches; only a new one measures the next model alone.
That process runs `benchmark_process`, which this module starts but does not import.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from understudy.config.decoding import Decoding, EngineName
from understudy.config.section import Section
from understudy.errors import EvaluationError
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Efficiency

CHILD = "understudy.evaluation.benchmark_process"
REPEATS = 3
"""Passes over all inputs of which throughput is the median."""
Clock = Callable[[], float]
"""Returns the time in seconds."""


class Workload(Section):
    """The input of the measuring process: what to generate, and how."""

    sources: tuple[tuple[int, ...], ...]
    """Token ids of real sources."""
    decoding: Decoding
    max_tokens: int
    engine: EngineName = "auto"
    batch_size: int = 32
    """Sources per call when throughput is measured."""
    latency_inputs: int = 64
    """Number of sources that are also generated one at a time, for latency."""
    threads: int = 1
    device: str = "cpu"


def measure_efficiency(folder: Path, workload: Workload, *, workspace: Path) -> Efficiency:
    """The cost of one checkpoint, measured in a process of its own.

    Args:
        folder: network and tokenizer in Hugging Face's form.
        workload: real sources and generation settings; the same for all systems that are compared.
        workspace: for the checkpoint's converted form, which later measurements reuse.

    Raises:
        EvaluationError: if there is nothing to measure, or the process fails; with the last line of its stderr.
    """
    _require_work(workload)
    with _caller_pipe() as caller:
        done = subprocess.run(  # noqa: S603  # our own interpreter and module, no shell
            [sys.executable, "-m", CHILD, str(folder), str(workspace), str(caller)],
            input=workload.model_dump_json(),
            capture_output=True,
            text=True,
            check=False,
            # Thread pools are sized when the libraries load, before any code of the child runs.
            env={**os.environ, "OMP_NUM_THREADS": str(workload.threads)},
            pass_fds=[caller],
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise EvaluationError(
            f"measuring {folder} with engine {workload.engine!r} on {workload.device} failed with exit status "
            f"{done.returncode}: {last}; fix this, or measure with another engine"
        )
    return Efficiency(**json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class BenchmarkedSystem:
    """One system of a benchmark."""

    checkpoint: Path
    """Network and tokenizer in the Hugging Face layout."""
    workspace: Path
    """Where the engine's converted form of it lies, or is written."""
    workload: Workload
    """The same inputs for all systems, as token ids of its own."""


def measure_all(
    systems: Mapping[str, BenchmarkedSystem], *, repeats: int = 3, progress: ProgressCallback = NO_PROGRESS
) -> dict[str, Efficiency]:
    """The cost of several checkpoints, measured in turn, A B C A B C; medians over the repeats.

    The speed of a machine drifts. Systems measured in turn share the drift, so their ratios are comparable; systems
    measured one after the other are not.

    Args:
        systems: by name.
        repeats: an odd number makes every median a measured value.
        progress: called with 1 and the system's name after every measurement.

    Raises:
        EvaluationError: as `measure_efficiency`.
    """
    measured: dict[str, list[Efficiency]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, system in systems.items():
            own = measure_efficiency(system.checkpoint, system.workload, workspace=system.workspace)
            measured[name].append(own)
            progress(1, name)
    return {name: _median(own) for name, own in measured.items()}


@contextmanager
def _caller_pipe() -> Iterator[int]:
    """A pipe whose other end closes when this process ends, however it ends."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _require_work(workload: Workload) -> None:
    counts = {"sources": len(workload.sources)}
    counts |= {key: getattr(workload, key) for key in ("max_tokens", "batch_size", "latency_inputs", "threads")}
    if min(counts.values()) < 1:
        found = ", ".join(f"{count} {key}" for key, count in counts.items())
        raise EvaluationError(f"a measurement needs at least one of each, got {found}; raise those below 1")


def _median(measured: Sequence[Efficiency]) -> Efficiency:
    first = measured[0]
    return Efficiency(
        parameters=first.parameters,
        disk_bytes=first.disk_bytes,
        latency_p50_ms=median(own.latency_p50_ms for own in measured),
        latency_p95_ms=median(own.latency_p95_ms for own in measured),
        throughput_per_s=median(own.throughput_per_s for own in measured),
        peak_memory_bytes=int(median(own.peak_memory_bytes for own in measured)),
        how=f"{first.how}, median of {len(measured)} repeats" if len(measured) > 1 else first.how,
    )
