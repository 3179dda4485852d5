"""How fast this machine is: measured once on small random networks (`calibration_runs`), and kept per machine.

Seconds of work are a sum of kinds of cost, whose factors are fitted to the measurements:

    seconds = a · multiplications + b · activations + c · weights read + d · layer calls + e · calls

where a call is a micro-batch (training) or a token of the longest text of a batch (generation), and layer calls are
layers times calls, and weights are read once in a call.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from understudy.errors import StoreError, first_line
from understudy.generation.engine import allowed_threads, cores
from understudy.pipeline.calibration_runs import MeasuredRun, measured_work
from understudy.pipeline.context import default_device
from understudy.pipeline.work import Features
from understudy.progress import Progress
from understudy.store.disk import write_json
from understudy.store.stage import content_key

VERSION = 2
"""Of the measurements: another version is measured again."""
ROUNDS = 3
"""Times that all measurements are made, one after the other, so that a moment of load does not spoil one of them."""
BUSY = 0.5
"""Processes per core that wait or compute, from which a machine is busy."""


@dataclass(frozen=True)
class Speed:
    """Seconds per unit of each kind of cost, for each kind of work."""

    train: Features
    ctranslate2: Features
    """Of one thread."""
    hf: Features
    convert: Features
    """Per parameter, layer and network that gets its form for ctranslate2 and is opened."""
    load: float = 0.0
    """Processes per core that were under way when it was measured."""

    def seconds(self, kind: str, work: Features) -> float:
        """How long a work takes."""
        factors: Features = getattr(self, kind)
        return sum(factor * amount for factor, amount in zip(factors, work, strict=True))

    @property
    def caveat(self) -> str:
        """What to know about the measurement; empty if there is nothing."""
        if self.load <= BUSY:
            return ""
        return (
            f"the speed of this machine was measured while it was busy ({self.load:.1f} other processes per core), so "
            "minutes may be too high; it is measured again by the next plan on the idle machine"
        )


NO_SPEED = Speed((0.0,) * 5, (0.0,) * 5, (0.0,) * 5, (0.0,) * 3)


def machine_speed(progress: Progress, cache: Path | None = None) -> Speed:
    """The speed of this machine, measured now if it is not in the user's cache, or was measured under more load.

    Args:
        progress: is informed about the measurement, which takes some seconds.
        cache: folder of the measurements; None: `understudy` in the user's cache.
    """
    path = (cache or user_cache()) / f"speed-{content_key(machine())}.json"
    load = load_per_core()
    if (kept := _kept(path)) and (kept.load <= BUSY or load > BUSY):
        return kept
    speed = measured_speed(progress, load)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"machine": machine(), "speed": asdict(speed)})
    except (OSError, StoreError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        progress.log(
            f"the measured speed is not kept, and the next plan measures it again: {path.parent} cannot be written "
            f"({reason}); XDG_CACHE_HOME decides the folder (~/.cache where it is not set)"
        )
    return speed


def _kept(path: Path) -> Speed | None:
    """What the cache has; None for a file that is missing, damaged or of another version."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))["speed"]
        load = float(kept.pop("load"))
        return Speed(**{kind: tuple(map(float, own)) for kind, own in kept.items()}, load=load)
    return None


def user_cache() -> Path:
    """The folder of what is kept for this user on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "understudy"


def load_per_core() -> float:
    """Processes per core that computed or waited for a core in the last minute; 0 where the system does not count."""
    return os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else 0.0


def machine() -> dict[str, object]:
    """What the speed depends on."""
    device = default_device()
    return {
        "version": VERSION,
        "processor": processor(),
        "cores": cores(),
        "threads": [allowed_threads(), torch.get_num_threads()],
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
    }


def processor() -> str:
    """The name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measured_speed(progress: Progress, load: float) -> Speed:
    """Trains, converts and generates with random networks of several sizes; `load` is that of the machine before."""
    with measured_work() as works, progress.track("measure this machine's speed, once", ROUNDS, "round") as advance:
        seconds: list[list[float]] = [[] for _ in works]
        for _ in range(ROUNDS):
            for times, work in zip(seconds, works, strict=True):
                times.append(busiest_thread_seconds(work.run))
            advance(1)
    return Speed(
        **{kind: _fitted(kind, works, seconds) for kind in ("train", "ctranslate2", "hf", "convert")}, load=load
    )


def _fitted(kind: str, works: Sequence[MeasuredRun], seconds: Sequence[Sequence[float]]) -> Features:
    """The factors of one kind of work, from the shortest time of each measurement."""
    own = [(work.features, min(times)) for work, times in zip(works, seconds, strict=True) if work.kind == kind]
    return fit(*zip(*own, strict=True))


def busiest_thread_seconds(run: Callable[[], object]) -> float:
    """Seconds that a run takes on an idle machine: the processor time of the thread that computes longest.

    Other processes lengthen the time by the clock; they hardly lengthen this one. On a GPU it is the time by the clock.
    """
    before, started = thread_seconds(), time.perf_counter()
    run()
    by_clock = time.perf_counter() - started
    if default_device() == "cuda":
        return by_clock
    return min(by_clock, max(own - before.get(thread, 0.0) for thread, own in thread_seconds().items()))


def thread_seconds() -> dict[str, float]:
    """Processor time of each thread of this process; of all together where the system does not count each."""
    counts = Path("/proc/self/task").glob("*/schedstat")
    with suppress(OSError):  # a thread may end meanwhile
        if found := {path.parent.name: int(path.read_text("ascii").split()[0]) / 1e9 for path in counts}:
            return found
    return {"all": time.process_time()}


def fit(works: Sequence[Features], seconds: Sequence[float]) -> Features:
    """The factors with the least relative error, none of them negative."""
    scaled = np.array(works) / np.array(seconds)[:, None]
    unit = scaled.max(axis=0).clip(min=1e-30)
    kept = list(range(scaled.shape[1]))
    while True:
        factors = np.zeros(scaled.shape[1])
        factors[kept] = np.linalg.lstsq(scaled[:, kept] / unit[kept], np.ones(len(seconds)), rcond=None)[0]
        if (factors >= 0).all():
            return tuple((factors / unit).tolist())
        kept.remove(int(factors.argmin()))
