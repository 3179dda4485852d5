"""A system of a run as it answers new inputs: its network, prompt, limits, and the decoding it was evaluated with.

This module depends on folders and settings, not on runs: `pipeline/inspect/deploy.py` finds them for a run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from understudy.config.decoding import Decoding, EngineName
from understudy.errors import ModelError
from understudy.generation import Engine, open_engine
from understudy.generation.confidence import confidences
from understudy.models.generated_text import counted_text, stop_ids
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits, checkpoint_task_tokenizer
from understudy.models.token_bytes import TokenBytes
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


@dataclass(frozen=True)
class TextSettings:
    """How texts are generated. Equal settings can share a batch."""

    decoding: Decoding
    max_tokens: int
    """Maximum length of a text, its end included."""
    per_source: int = 1
    seed: int | None = 0
    """Of the sampling; None: a new one."""
    logprobs: bool = False
    """Whether the log-probability of each token is wanted."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated token and its log-probability in nats, at temperature 1 before any truncation."""

    content: bytes
    """Empty for a special token."""
    logprob: float


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
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of each token, if the settings ask for it."""


class Answering:
    """A deployment with an open engine."""

    def __init__(self, deployment: Deployment, engine: Engine, tokenizer: TaskTokenizer) -> None:
        """Made by `open_deployment`."""
        self.deployment = deployment
        self._engine = engine
        self._tokenizer = tokenizer

    @property
    def evaluated(self) -> TextSettings:
        """The settings that were evaluated."""
        return TextSettings(self.deployment.decoding, self._tokenizer.max_target_tokens)

    def refusals(self, sources: Sequence[str]) -> list[str | None]:
        """For each source, why it cannot be answered: it would have to be truncated. None if it can."""
        return [self.refusal(row) for row in self.encode(sources)]

    def refusal(self, row: Sequence[int]) -> str | None:
        """The same of the tokens of one source."""
        own, limit = self._tokenizer, self._tokenizer.max_positions
        if own.limits_sources and len(row) > own.max_source_tokens:
            return f"the source has {len(row)} tokens and the limit is {own.max_source_tokens}; shorten it"
        if limit is not None and own.needed_positions(len(row), own.max_target_tokens) > limit:
            return f"the source has {len(row)} tokens, too many for a model of {limit} positions; shorten it"
        return None

    def answers(self, sources: Sequence[str], progress: ProgressCallback = NO_PROGRESS) -> list[Answer]:
        """The system's text for each source, generated as it was evaluated.

        Args:
            sources: which `refusals` does not refuse.
            progress: called with the number of sources that have been finished since its last call.
        """
        return [texts[0] for texts in self.texts(self.encode(sources), self.evaluated, progress)]

    def encode(self, sources: Sequence[str]) -> list[list[int]]:
        """Token ids of each source with its prompt, of any length."""
        return self._tokenizer.encode_sources([Example("", source) for source in sources])

    def byte_share(self, row: Sequence[int]) -> float:
        """The share of a source's tokens that are unknown, or one byte of a character of several."""
        return sum(token in self._byte_tokens for token in row) / len(row) if row else 0.0

    @cached_property
    def _byte_tokens(self) -> frozenset[int]:
        unknown = {self._tokenizer.tokenizer.unk_token_id} - {None}
        try:
            table = self._token_bytes
        except ModelError:  # of a kind that has no bytes
            return frozenset(unknown)
        contents = enumerate(map(table.of, range(len(table))))
        return frozenset(unknown) | {
            token for token, part in contents if part and len(part) == 1 and not part.isascii()
        }

    def texts(
        self, rows: Sequence[Sequence[int]], settings: TextSettings, progress: ProgressCallback = NO_PROGRESS
    ) -> list[tuple[Answer, ...]]:
        """`settings.per_source` texts for each source.

        Args:
            rows: token ids which `refusal` does not refuse.
            settings: how the texts are generated.
            progress: as in `answers`.
        """
        generated = self._engine.generate(
            rows,
            settings.decoding,
            per_source=settings.per_source,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            stop_ids=stop_ids(self._tokenizer),
            progress=progress,
        )
        texts = [counted_text(self._tokenizer, text).text for several in generated for text in several]
        sources = [row for row, several in zip(rows, generated, strict=True) for _ in several]
        answered = confidences(self._engine, sources, texts)
        logprobs = self._token_logprobs(sources, texts) if settings.logprobs else [None] * len(texts)
        answers = (self._answer(*values) for values in zip(texts, answered, logprobs, strict=True))
        return [tuple(islice(answers, len(several))) for several in generated]

    def _answer(self, text: Generated, confidence: float, logprobs: tuple[TokenLogprob, ...] | None) -> Answer:
        end = self._tokenizer.tokenizer.eos_token_id
        finished = bool(text.token_ids) and text.token_ids[-1] == end
        decoded = self._tokenizer.decode(text.token_ids).strip()
        return Answer(decoded, len(text.token_ids), confidence, finished, logprobs)

    def _token_logprobs(
        self, rows: Sequence[Sequence[int]], texts: Sequence[Generated]
    ) -> list[tuple[TokenLogprob, ...] | None]:
        ids = [text.token_ids for text in texts]
        some = [i for i, row in enumerate(ids) if row]
        found: list[tuple[TokenLogprob, ...] | None] = [()] * len(ids)
        for i, scores in zip(some, self._engine.score([rows[i] for i in some], [ids[i] for i in some]), strict=True):
            contents = [self._token_bytes.of(token) or b"" for token in ids[i]]
            found[i] = tuple(TokenLogprob(*pair) for pair in zip(contents, scores, strict=True))
        return found

    @cached_property
    def _token_bytes(self) -> TokenBytes:
        return TokenBytes(self._tokenizer.tokenizer)


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
