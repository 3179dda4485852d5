"""How fast this machine trains and generates: measured once on small random networks, and kept per machine.

Seconds of work are a sum of three kinds of cost, whose factors are fitted to a few measurements:

    seconds = a · multiplications + b · activations + c · calls

where calls are layers times micro-batches (training) or times generated tokens of the longest text (hf).
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from understudy.config.decoding import Greedy
from understudy.config.model_sections import Scratch
from understudy.errors import StoreError, first_line
from understudy.generation import open_engine
from understudy.generation.engine import allowed_threads, cores
from understudy.models.checkpoint import save_network
from understudy.models.forward import target_logits
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.context import default_device
from understudy.pipeline.network_size import NetworkSize, size_of
from understudy.progress import Progress
from understudy.store.disk import write_json
from understudy.store.stage import content_key

WIDTHS = (64, 192, 384)
"""Of the measured networks: from the demo's to a size at which multiplications dominate."""
SOURCE, TARGET = 32, 24
BATCHES = (4, 32)
"""Rows of the measured batches."""
TIMED_RUNS = 2
Features = tuple[float, float, float]


@dataclass(frozen=True)
class Speed:
    """Seconds per multiplication, per activation and per call of each kind of work."""

    train: Features
    ctranslate2: Features
    hf: Features

    def seconds(self, kind: str, work: Features) -> float:
        """How long a work takes."""
        factors: Features = getattr(self, kind)
        return sum(factor * amount for factor, amount in zip(factors, work, strict=True))


def training_work(
    size: NetworkSize, *, source_tokens: float, target_tokens: float, batches: float, passes: float = 3.0
) -> Features:
    """The work of forward and backward passes; `passes` is 1 for a forward pass alone."""
    multiplied = 2 * passes * (size.source * source_tokens + size.target * target_tokens)
    activations = passes * (
        size.width * (size.source_layers * source_tokens + size.target_layers * target_tokens)
        + size.vocabulary * target_tokens
    )
    return multiplied, activations, passes * batches * (size.source_layers + size.target_layers)


def generation_work(
    size: NetworkSize, *, source_tokens: float, target_tokens: float, beams: float = 1.0, calls: float = 1.0
) -> Features:
    """The work of generating texts; `calls` is the sum over the batches of the tokens of their longest text."""
    generated = target_tokens * beams
    multiplied = 2 * (size.source * source_tokens + size.target * generated)
    activations = size.width * (size.source_layers * source_tokens + size.target_layers * generated)
    return multiplied, activations + size.vocabulary * generated, calls * size.target_layers


def machine_speed(progress: Progress, cache: Path | None = None) -> Speed:
    """The speed of this machine, measured now if it is not in the user's cache.

    Args:
        progress: is informed about the measurement, which takes some seconds.
        cache: folder of the measurements; None: `understudy` in the user's cache.
    """
    path = (cache or user_cache()) / f"speed-{content_key(machine())}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))["speed"]
            return Speed(**{kind: (float(a), float(b), float(c)) for kind, (a, b, c) in kept.items()})
    with progress.track("measure this machine's speed, once", len(WIDTHS), "network") as advance:
        speed = measured_speed(lambda: advance(1))
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


def user_cache() -> Path:
    """The folder of what is kept for this user on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "understudy"


def machine() -> dict[str, object]:
    """What the speed depends on."""
    device = default_device()
    return {
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


def measured_speed(advance: Callable[[], None] = lambda: None) -> Speed:
    """Trains and generates with random networks of several sizes."""
    words = [f"{a}{b}" for a in "bcdfghklmnprst" for b in "aeiou"]
    tokenizer = train_tokenizer([" ".join(words)] * 3, vocab_size=300)
    device = default_device()
    found: dict[str, list[tuple[Features, float]]] = {"train": [], "ctranslate2": [], "hf": []}

    def record(kind: str, work: Features, run: Callable[[], object]) -> None:
        found[kind].append((work, shortest(run)))

    for width in WIDTHS:
        scratch = Scratch(width=width, encoder_layers=2, decoder_layers=2, heads=4, feed_forward=4 * width, dropout=0.0)
        network = build_network(scratch, tokenizer, max_positions=SOURCE + TARGET, seed=0).to(device)
        size = size_of(network.config)
        for rows in BATCHES:
            work = training_work(size, source_tokens=rows * SOURCE, target_tokens=rows * TARGET, batches=1)
            record("train", work, partial(pass_both_ways, network, rows))
        with tempfile.TemporaryDirectory() as folder:
            save_network(network, tokenizer, Path(folder) / "network")
            for kind in ("ctranslate2", "hf"):
                _generate(kind, Path(folder), size, record)
        advance()
    return Speed(**{kind: fit(*zip(*rows, strict=True)) for kind, rows in found.items()})


def _generate(
    kind: str, folder: Path, size: NetworkSize, record: Callable[[str, Features, Callable[[], object]], None]
) -> None:
    with open_engine(kind, folder / "network", workspace=folder, device=default_device()) as engine:
        for rows in BATCHES:
            sources = [[5 + row % 50] * (SOURCE - 1) + [2] for row in range(rows)]
            texts = engine.generate(sources, Greedy(), max_tokens=TARGET)  # also warms up
            lengths = [len(text[0].token_ids) for text in texts]
            work = generation_work(size, source_tokens=rows * SOURCE, target_tokens=sum(lengths), calls=max(lengths))
            record(kind, work, partial(engine.generate, sources, Greedy(), max_tokens=TARGET))


def pass_both_ways(network: PreTrainedModel, rows: int) -> None:
    """One forward and backward pass."""
    device = network.device
    sources = torch.full((rows, SOURCE), 5, device=device)
    targets = torch.full((rows, TARGET), 6, device=device)
    logits_NV = target_logits(
        network,
        source_ids_SL=sources,
        source_mask_SL=torch.ones_like(sources, dtype=torch.bool),
        source_of_B=torch.arange(rows, device=device),
        target_ids_BT=targets,
        target_mask_BT=torch.ones_like(targets, dtype=torch.bool),
    )
    torch.autograd.backward(torch.nn.functional.cross_entropy(logits_NV, targets.flatten()))
    if device.type == "cuda":
        torch.cuda.synchronize()


def shortest(run: Callable[[], object]) -> float:
    """The shortest time of a few runs, after one that warms up.

    On a processor it is not longer than the processor time: a machine that is busy now may be free for the run.
    """
    run()
    times = []
    for _ in range(TIMED_RUNS):
        started, processor_time = time.perf_counter(), time.process_time()
        run()
        times.append(time.perf_counter() - started)
        if default_device() == "cpu":
            times.append(time.process_time() - processor_time)
    return min(times)


def fit(works: Sequence[Features], seconds: Sequence[float]) -> Features:
    """The factors with the least relative error, none of them negative."""
    scaled = np.array(works) / np.array(seconds)[:, None]
    unit = scaled.max(axis=0).clip(min=1e-30)
    kept = [0, 1, 2]
    while True:
        factors = np.zeros(3)
        factors[kept] = np.linalg.lstsq(scaled[:, kept] / unit[kept], np.ones(len(seconds)), rcond=None)[0]
        if (factors >= 0).all():
            a, b, c = (factors / unit).tolist()
            return a, b, c
        kept.remove(int(factors.argmin()))
