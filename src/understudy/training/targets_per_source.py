"""How many targets of one source a step uses where a recipe says `auto`, and when a prompt is read once for them.

What an epoch then consists of is planned in `mixture.py`. The bounds were measured with
benchmarks/targets_per_source.py (docs/results.md).
Axes: S sources, L source positions, B targets, T target positions.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from understudy.config.training import TargetsPerSource
from understudy.pool.token_arrays import Ints
from understudy.training.mixture import AutoTargets, Mixture

NUMBERS = ((2.0, 4), (0.5, 2))
"""Smallest length of sources, in lengths of targets -> targets per source; below the last it is 1."""
MOST_TARGETS = max(number for _, number in NUMBERS)
PAYS = 1.25
"""Padded tokens of separate rows, in padded tokens with each prompt once, from which a prompt is read once: below, a
second call of the network costs what it saves."""


def with_targets_per_source(
    mixture: Mixture, requested: TargetsPerSource, *, epochs: int, student_samples: int | None = None
) -> Mixture:
    """The mixture with the requested number of targets per source, or the one that suits the lengths of its texts.

    Lengths are means over the sources that it uses and over gold targets; without gold, over the teacher's texts.

    Args:
        mixture: with all texts that exist before training.
        requested: a number, or `auto`.
        epochs: of the training; `auto` is not larger, so that every input is used.
        student_samples: what `auto` is not larger than where the mixture has student samples; None: any number.
    """
    if requested != "auto":
        return replace(mixture, targets_per_source=requested)
    source, target = _mean_lengths(mixture)
    available = _available(mixture, student_samples)
    wanted = next((number for least, number in NUMBERS if source >= least * target), 1)
    auto = AutoTargets(epochs, source, target, available)
    return replace(mixture, targets_per_source=max(1, min(wanted, available, epochs)), auto=auto)


def described(mixture: Mixture) -> str | None:
    """How `auto` was resolved; None where the recipe has a number."""
    auto, number = mixture.auto, mixture.targets_per_source
    if auto is None:
        return None
    limits = {"texts per input": auto.available, "epochs": auto.epochs}
    reached = "".join(f", {name} {limit}" for name, limit in limits.items() if limit == number < MOST_TARGETS)
    lengths = f"sources {auto.source_tokens:.0f} tokens, targets {auto.target_tokens:.0f}"
    return f"targets per source: {number} (auto: {lengths}{reached})"


def reading_once_pays(inputs: Mapping[str, Tensor]) -> bool:
    """Whether a decoder-only model reads a micro-batch faster if it reads each prompt once.

    B·(L + T) padded tokens of separate rows are compared with S·L + B·T.
    """
    sources, length = inputs["source_ids_SL"].shape
    targets, longest = inputs["target_ids_BT"].shape
    return targets * (length + longest) >= PAYS * (sources * length + targets * longest)


def _available(mixture: Mixture, student_samples: int | None) -> int:
    """Texts that an input has, at least half of the inputs; with gold alone, the most that any has."""
    shares, available = mixture.shares, MOST_TARGETS
    if shares.get("student", 0.0):
        available = min(available, student_samples or MOST_TARGETS)
    if shares.get("teacher", 0.0):
        counts = mixture.targets["teacher"].counts[mixture.inputs]
        available = min(available, int(np.median(counts)) if len(counts) else 1)
    elif not shares.get("student", 0.0):
        available = min(available, int(mixture.targets["gold"].counts.max(initial=1)))
    return available


def _mean_lengths(mixture: Mixture) -> tuple[float, float]:
    gold, teacher = mixture.targets["gold"], mixture.targets.get("teacher")
    pseudo_targets = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    used = mixture.inputs if pseudo_targets else np.flatnonzero(gold.counts)
    texts = gold.texts if teacher is None or len(gold.texts) else teacher.texts
    return _mean(mixture.sources.lengths[used]), _mean(texts.lengths)


def _mean(lengths: Ints) -> float:
    return float(lengths.mean()) if len(lengths) else 0.0
