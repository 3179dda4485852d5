"""The measuring process: `python -m understudy.evaluation.benchmark_process FOLDER WORKSPACE PIPE < workload`.

Started by `efficiency`, which gives the reason for a separate process. PIPE is the number of an open file whose other
end the caller holds: when it closes, the caller has ended, and so does this process. Importing this module loads torch
and every engine.
"""

import gc
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import psutil
import torch

from understudy.evaluation.efficiency import REPEATS, Clock, Workload
from understudy.generation import Engine, open_engine
from understudy.models.checkpoint import checkpoint_parameter_count, disk_bytes
from understudy.records import Efficiency

WARM_UPS = 3


def latencies_ms(engine: Engine, workload: Workload, *, clock: Clock = perf_counter) -> list[float]:
    """Milliseconds to generate for each of the first sources alone, after a few warm-up calls."""
    chosen = workload.sources[: workload.latency_inputs]

    def generate(source: Sequence[int]) -> float:
        start = clock()
        engine.generate([source], workload.decoding, max_tokens=workload.max_tokens)
        return 1000 * (clock() - start)

    for index in range(WARM_UPS):
        generate(chosen[index % len(chosen)])
    return [generate(source) for source in chosen]


def throughput_per_s(engine: Engine, workload: Workload, *, clock: Clock = perf_counter) -> float:
    """Outputs per second over all sources, `batch_size` of them per call; the median of three passes."""
    batches = [
        workload.sources[start : start + workload.batch_size]
        for start in range(0, len(workload.sources), workload.batch_size)
    ]

    def generate_all() -> float:
        start = clock()
        for batch in batches:
            engine.generate(batch, workload.decoding, max_tokens=workload.max_tokens)
        return clock() - start

    return len(workload.sources) / median(generate_all() for _ in range(REPEATS))


def measure(folder: Path, workspace: Path, workload: Workload) -> Efficiency:
    """The cost of running a checkpoint on a workload; meant for a process that does nothing else."""
    torch.set_num_threads(workload.threads)
    baseline = _memory_in_use(workload.device)
    with open_engine(
        workload.engine,
        folder,
        workspace=workspace,
        device=workload.device,
        threads=workload.threads,
        decoding=workload.decoding,
    ) as engine:
        gc.collect()
        if workload.device.startswith("cuda"):
            torch.cuda.empty_cache()
        _reset_peak()
        latencies = latencies_ms(engine, workload)
        throughput = throughput_per_s(engine, workload)
        peak = _peak_memory(workload.device)
        name = engine.name
    return Efficiency(
        parameters=checkpoint_parameter_count(str(folder)),
        disk_bytes=disk_bytes(folder),
        latency_p50_ms=float(np.quantile(latencies, 0.5)),
        latency_p95_ms=float(np.quantile(latencies, 0.95)),
        throughput_per_s=throughput,
        peak_memory_bytes=max(0, peak - baseline),
        how=_how(name, workload),
    )


def _how(engine: str, workload: Workload) -> str:
    settings = workload.decoding.model_dump()
    decoding = " ".join([settings.pop("kind"), *(f"{key}={value}" for key, value in settings.items())])
    means = [
        f"{engine} on {workload.device}",
        f"{workload.threads} thread{'s' * (workload.threads != 1)}",
        f"decoding {decoding}",
        f"at most {workload.max_tokens} tokens",
        f"latency of {min(workload.latency_inputs, len(workload.sources))} inputs at batch 1",
        f"throughput of {len(workload.sources)} inputs at batch {workload.batch_size}",
    ]
    return ", ".join(means)


def _memory_in_use(device: str) -> int:
    if device.startswith("cuda"):
        # The whole device: torch does not see CTranslate2's memory. Both keep memory that they have allocated.
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return int(psutil.Process().memory_info().rss)


def _reset_peak() -> None:
    """Reset the peak: the memory to open the engine (a conversion holds the weights twice) is no cost of running it."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory(device: str) -> int:
    if device.startswith("cuda") or sys.platform != "linux":
        return _memory_in_use(device)
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(kibibytes)


def end_with_caller(pipe: int) -> None:
    """Ends this process as soon as nothing holds the other end of the pipe."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_caller(int(sys.argv[3]))
    cost = measure(Path(sys.argv[1]), Path(sys.argv[2]), Workload.model_validate_json(sys.stdin.read()))
    # The last line of stdout; libraries may have printed before.
    sys.stdout.write(json.dumps(asdict(cost)) + "\n")
