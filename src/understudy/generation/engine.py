"""What an engine is: sources in, texts out, in the order of the sources.

The protocol, the refusals all engines share and the batches they plan. The engines themselves are
`hf` and `ctranslate`.
"""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from understudy.config.decoding import DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.errors import GenerationError
from understudy.records import Generated

ProgressCallback = Callable[[int], None]
"""Told how many more sources are done."""


class Engine(Protocol):
    """Draws texts from one network."""

    name: str

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int = 0,
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """Texts for each source.

        Args:
            sources: token ids as the network reads them, special tokens included, none empty.
            decoding: how to draw.
            per_source: how many texts for each source; more than 1 only with sampling, k_beams, diverse_beam.
            max_tokens: the longest text in tokens, its end-of-sequence id included.
            seed: of the draws. Equal seed, sources and settings give equal texts; other sources in
                the same call, or in another order, may change the draws.
            progress: told how many more sources are done.

        Returns:
            For each source, in order, `per_source` texts; those of a beam search best first, those of
            diverse beams by log-probability per token.

        Raises:
            GenerationError: for more texts per source than the decoding can give, or a decoding the engine lacks.
        """


def cores() -> int:
    """Cores this process may use. Not torch's number of threads, which training changes on its way."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_threads() -> int:
    """Threads this process may use: as many as cores, or fewer where OMP_NUM_THREADS says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(cores(), int(asked)) if asked.isdecimal() and int(asked) else cores()


def refuse_impossible(decoding: PoolDecoding, *, per_source: int) -> None:
    """Let pass only a number of texts that the decoding can give.

    Raises:
        GenerationError: if it cannot.
    """
    if per_source < 1:
        raise GenerationError(f"{per_source} texts per source were asked for; ask for at least 1")
    if isinstance(decoding, DiverseBeam):
        if per_source > decoding.groups:
            raise GenerationError(
                f"diverse_beam with {decoding.groups} groups gives {decoding.groups} texts per source, {per_source} "
                f"were asked for; set decoding.groups to at least {per_source}"
            )
    elif isinstance(decoding, KBeams):
        if per_source > decoding.beams:
            raise GenerationError(
                f"k_beams with {decoding.beams} beams holds {decoding.beams} texts per source, {per_source} were "
                f"asked for; set decoding.beams to at least {per_source}"
            )
    elif per_source > 1 and not isinstance(decoding, Sampling):
        raise GenerationError(
            f"{decoding.kind} gives one text per source, {per_source} were asked for; use decoding k_beams or sampling"
        )


def no_groups() -> GenerationError:
    """What CTranslate2 answers to diverse beams."""
    return GenerationError(
        "engine 'ctranslate2' was asked for decoding diverse_beam, which it does not have; engine 'hf' has it, and "
        "'auto' chooses it"
    )


def batches_by_length(sources: Sequence[Sequence[int]], *, rows_per_source: int, token_budget: int) -> list[list[int]]:
    """Indices of sources, long ones first, in batches of at most `token_budget` padded tokens.

    Args:
        sources: token ids.
        rows_per_source: beams or samples that run side by side for each.
        token_budget: rows times longest source; a batch holds at least one source.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(sources)), key=lambda index: -len(sources[index])):
        # The first of a batch is its longest.
        if batches and (len(batches[-1]) + 1) * rows_per_source * len(sources[batches[-1][0]]) <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
