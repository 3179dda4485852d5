"""A system of a run as it answers new inputs: its network, prompt, limits, and the decoding it was evaluated with.

This module depends on folders and settings, not on runs: `pipeline/inspect/deploy.py` finds them for a run.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config.decoding import Decoding, EngineName
from understudy.generation import Engine, open_engine
from understudy.models.generated_text import counted_text, stop_ids
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits, checkpoint_task_tokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, Generated


@dataclass(frozen=True)
class Deployment:
    """One system, and how it was evaluated."""

    run: str
    """Name of the run."""
    system: str
    """Name of the system in the run's report."""
    key: str
    """Identifies the network: equal keys, equal weights."""
    checkpoint: Path
    """The network in the Hugging Face layout."""
    conversions: Path
    """Folder of the forms that engines read; what is missing there is made."""
    engine: EngineName
    """The engine that generated the evaluated texts."""
    decoding: Decoding
    """The evaluated decoding."""
    limits: TextLimits
    """The prompt, and the limits in tokens."""
    limits_sources: bool = True
    """As in `TaskTokenizer`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system generates for one input."""

    text: str
    """Without spaces around it, as evaluated texts are."""
    tokens: int
    """Tokens of the text without its reasoning, the one that ends it included."""
    confidence: float
    """Probability per token under the network: the geometric mean, from 0 to 1. It is not calibrated."""
    finished: bool
    """Whether the text ended before the limit of tokens."""


class Answering:
    """A deployment with an open engine."""

    def __init__(self, deployment: Deployment, engine: Engine, tokenizer: TaskTokenizer) -> None:
        """Made by `open_deployment`."""
        self.deployment = deployment
        self._engine = engine
        self._tokenizer = tokenizer

    def refusals(self, sources: Sequence[str]) -> list[str | None]:
        """For each source, why it cannot be answered: it would have to be truncated. None if it can."""
        own, found = self._tokenizer, list[str | None]()
        for row in self._encoded(sources):
            limit = own.max_positions
            if own.limits_sources and len(row) > own.max_source_tokens:
                found.append(f"the source has {len(row)} tokens and the limit is {own.max_source_tokens}; shorten it")
            elif limit is not None and own.needed_positions(len(row), own.max_target_tokens) > limit:
                found.append(f"the source has {len(row)} tokens, too many for a model of {limit} positions; shorten it")
            else:
                found.append(None)
        return found

    def answers(self, sources: Sequence[str], progress: ProgressCallback = NO_PROGRESS) -> list[Answer]:
        """The system's text for each source, generated as it was evaluated.

        Args:
            sources: which `refusals` does not refuse.
            progress: called with the number of sources that have been finished since its last call.
        """
        rows = self._encoded(sources)
        limit = self._tokenizer.max_target_tokens
        generated = self._engine.generate(
            rows, self.deployment.decoding, max_tokens=limit, stop_ids=stop_ids(self._tokenizer), progress=progress
        )
        first = [counted_text(self._tokenizer, texts[0]).text for texts in generated]
        end = self._tokenizer.tokenizer.eos_token_id
        return [
            Answer(
                self._tokenizer.decode(text.token_ids).strip(),
                len(text.token_ids),
                confidence,
                bool(text.token_ids) and text.token_ids[-1] == end,
            )
            for text, confidence in zip(first, self._confidences(rows, first), strict=True)
        ]

    def _encoded(self, sources: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.encode_sources([Example("", source) for source in sources])

    def _confidences(self, rows: Sequence[Sequence[int]], texts: Sequence[Generated]) -> list[float]:
        """exp(mean log-probability); texts whose engine reports none are scored."""
        unknown = [i for i, text in enumerate(texts) if text.token_ids and math.isnan(text.logprob)]
        sums = [text.logprob for text in texts]
        scored = self._engine.score([rows[i] for i in unknown], [texts[i].token_ids for i in unknown])
        for i, logprobs in zip(unknown, scored, strict=True):
            sums[i] = sum(logprobs)
        return [
            math.exp(min(0.0, total / len(text.token_ids))) if text.token_ids else 0.0
            for total, text in zip(sums, texts, strict=True)
        ]


@contextmanager
def open_deployment(deployment: Deployment, *, device: str, threads: int | None = None) -> Iterator[Answering]:
    """A deployment that answers, open within the context.

    Raises:
        ModelError: if its network cannot be loaded.
        GenerationError: if its engine cannot open it.
    """
    tokenizer = checkpoint_task_tokenizer(deployment.limits, str(deployment.checkpoint))
    tokenizer = replace(tokenizer, limits_sources=deployment.limits_sources)
    with open_engine(
        deployment.engine,
        deployment.checkpoint,
        workspace=deployment.conversions,
        device=device,
        threads=threads,
        decoding=deployment.decoding,
    ) as engine:
        yield Answering(deployment, engine, tokenizer)
