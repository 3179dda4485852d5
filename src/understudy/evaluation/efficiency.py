"""What systems cost to run: each measurement in a fresh process, all systems in turn.

A process that has held one model keeps its memory, threads and caches; only a new one measures the next
model alone. What happens inside that process is in `measure`, which this file starts but never imports.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

from understudy.config.decoding import Decoding
from understudy.config.section import Section
from understudy.errors import EvaluationError
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Efficiency

CHILD = "understudy.evaluation.benchmark_process"


class Workload(Section):
    """The order to the measuring process: what to write, and with which means."""

    sources: tuple[tuple[int, ...], ...]
    """Token ids of real sources."""
    decoding: Decoding
    max_tokens: int
    engine: Literal["auto", "hf", "ctranslate2"] = "auto"
    batch_size: int = 32
    """Sources per call when throughput is measured."""
    latency_inputs: int = 64
    """So many sources are also written one at a time."""
    threads: int = 1
    device: str = "cpu"


def measure_efficiency(folder: Path, workload: Workload, *, workspace: Path) -> Efficiency:
    """The cost of one checkpoint, measured in a process of its own.

    Args:
        folder: network and tokenizer in Hugging Face's form.
        workload: real sources and how to answer them; the same for all systems one compares.
        workspace: for the checkpoint's converted form, which later measurements reuse.

    Raises:
        EvaluationError: if there is nothing to measure, or the process fails; with the last line it wrote.
    """
    _require_work(workload)
    done = subprocess.run(  # noqa: S603  # our own interpreter and module, no shell
        [sys.executable, "-m", CHILD, str(folder), str(workspace)],
        input=workload.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
        # Thread pools are sized when the libraries load, before the child could say a word.
        env={**os.environ, "OMP_NUM_THREADS": str(workload.threads)},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise EvaluationError(
            f"measuring {folder} with engine {workload.engine!r} on {workload.device} failed with exit status "
            f"{done.returncode}: {last}; mend this, or measure with another engine"
        )
    return Efficiency(**json.loads(done.stdout.splitlines()[-1]))


def measure_all(
    folders: Mapping[str, Path],
    workloads: Mapping[str, Workload],
    *,
    workspace: Path,
    rounds: int = 3,
    advance: ProgressCallback = NO_PROGRESS,
) -> dict[str, Efficiency]:
    """The cost of several checkpoints, each measured once per round, A B C A B C; medians over rounds.

    The speed of a machine drifts: systems measured one after the other would differ by the hour, systems
    measured in turn share the drift, and their ratios hold.

    Args:
        folders: name of each system -> its checkpoint.
        workloads: name of each system -> the same inputs for all, as token ids of its own.
        workspace: holds a folder of each system's name, as in `measure_efficiency`.
        rounds: an odd number makes every median a measured value.
        advance: told of every system that was measured, once per round.

    Raises:
        EvaluationError: as `measure_efficiency`.
    """
    measured: dict[str, list[Efficiency]] = {name: [] for name in folders}
    for _ in range(rounds):
        for name, folder in folders.items():
            measured[name].append(measure_efficiency(folder, workloads[name], workspace=workspace / name))
            advance(1, name)
    return {name: _median(own) for name, own in measured.items()}


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
        how=f"{first.how}, median of {len(measured)} rounds" if len(measured) > 1 else first.how,
    )
