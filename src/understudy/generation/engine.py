"""The protocol of all engines, what an engine declares, and the checks that engines share.

The engines themselves are in `hf`, `ctranslate` and `vllm_engine`, their table is in the package, their batches in
`batches`.
"""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.errors import GenerationError
from understudy.progress import ProgressCallback
from understudy.records import Generated


class Engine(Protocol):
    """Generates texts with one model."""

    name: str

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int | None = 0,
        stop_ids: Collection[int] = (),
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """Texts for each source.

        Args:
            sources: token ids as the model reads them, special tokens included, none empty.
            decoding: how texts are generated.
            per_source: number of texts for each source; more than 1 only with sampling, k_beams, diverse_beam.
            max_tokens: maximum length of a text in tokens, its end-of-sequence id included.
            seed: of the sampling. Equal seed, sources and settings give equal texts; other sources in
                the same call, or another order, may change the samples. None: a new one, for texts that need not be
                repeated, which is faster with some engines.
            stop_ids: tokens that end a text too; they stay in it, before its end-of-sequence id.
            progress: called with the number of sources that have been finished since its last call.

        Returns:
            For each source, in order, `per_source` texts; those of a beam search best first, those of
            diverse beams by log-probability per token.

        Raises:
            GenerationError: for more texts per source than the decoding can give, or a decoding the engine lacks.
        """

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of each token of a given text.

        Args:
            sources: as in `generate`.
            targets: one text for each source, none empty.
        """


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. `EngineEntry.unsupported` gives the details that depend on a model's config."""

    decodings: frozenset[str]
    """Kinds of decoding."""
    families: frozenset[str] | None
    """Values of `model_type`; None: all."""
    logprobs: bool
    """Whether texts come with their log-probability; otherwise it is nan."""
    dtypes: frozenset[str]
    """Types of weights that a checkpoint can be opened with."""
    devices: frozenset[str] = frozenset({"cpu", "cuda"})
    """Kinds of devices that it runs on."""
    tolerance: float = 0.01
    """Largest difference from `hf` in nats per token, in float32, that its rounding explains."""


class OpenEngine(Protocol):
    """Opens a checkpoint."""

    def __call__(
        self, checkpoint: Path, converted: Path, /, *, dtype: str, device: str, threads: int | None
    ) -> AbstractContextManager[Engine]:
        """An engine of the checkpoint, whose form for this engine is in `converted` (if the engine has one)."""


def runs_everywhere() -> None:
    """The `EngineEntry.unavailable` of an engine that needs nothing but the required packages."""


@dataclass(frozen=True)
class EngineEntry:
    """One engine of the table `ENGINES`."""

    capabilities: Capabilities
    open: OpenEngine
    convert: Callable[[Path, Path], None] | None
    """Writes a checkpoint's form for this engine into an existing, empty folder; None: it reads the checkpoint."""
    live: Callable[[PreTrainedModel, PreTrainedTokenizerBase, int | None], AbstractContextManager[Engine]] | None
    """An engine that uses a model in memory, with so many threads; None: it needs a checkpoint."""
    unsupported: Callable[[PretrainedConfig], str | None]
    """Why the engine does not support a model, as the object of "does not support"; None: it does."""
    unavailable: Callable[[], str | None] = runs_everywhere
    """Why the engine cannot run on this machine, with the remedy; None: it can."""


def cores() -> int:
    """Cores this process may use. Not torch's number of threads, which training changes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_threads() -> int:
    """Threads this process may use: the number of cores, or fewer if OMP_NUM_THREADS is lower."""
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(cores(), int(requested)) if requested.isdecimal() and int(requested) else cores()


def refuse_decoding(engine: str, capabilities: Capabilities, decoding: PoolDecoding) -> None:
    """Check that an engine has a decoding.

    Raises:
        GenerationError: if it does not.
    """
    if decoding.kind not in capabilities.decodings:
        known = ", ".join(sorted(capabilities.decodings))
        raise GenerationError(
            f"engine {engine!r} does not have decoding {decoding.kind}, only {known}; use engine 'hf', which has all "
            "decodings, or 'auto'"
        )


def refuse_impossible(decoding: PoolDecoding, *, per_source: int) -> None:
    """Check that a decoding can give so many texts per source.

    Raises:
        GenerationError: if it cannot.
    """
    if per_source < 1:
        raise GenerationError(f"{per_source} texts per source were requested; request at least 1")
    if isinstance(decoding, DiverseBeam):
        if per_source > decoding.groups:
            raise GenerationError(
                f"diverse_beam with {decoding.groups} groups gives {decoding.groups} texts per source, {per_source} "
                f"were requested; set decoding.groups to at least {per_source}"
            )
    elif isinstance(decoding, KBeams):
        if per_source > decoding.beams:
            raise GenerationError(
                f"k_beams with {decoding.beams} beams gives {decoding.beams} texts per source, {per_source} were "
                f"requested; set decoding.beams to at least {per_source}"
            )
    elif per_source > 1 and not isinstance(decoding, Sampling):
        raise GenerationError(
            f"{decoding.kind} gives one text per source, {per_source} were requested; use decoding k_beams or sampling"
        )
