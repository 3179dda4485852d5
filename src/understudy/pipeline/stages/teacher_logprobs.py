"""The stage of the teacher logits cache: log-probabilities of texts that exist before training, for all students."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import FromStage, TokenizerSource, load_stage_network, load_task_tokenizer
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.training_data import (
    TaskTokenizers,
    encoded_sources,
    gold_targets,
    pool_targets,
    source_examples,
    teacher_sources,
)
from understudy.pool.logprob_cache import CacheTotals, LogprobCache, LogprobCacheFile, read_logprob_cache
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.records import Example, TextGenerator
from understudy.store import Stage, WorkerContext
from understudy.store.stage import content_key
from understudy.training.items import TrainItems
from understudy.training.mixture import Mixture
from understudy.training.step import AutocastPrecision, TargetLogits
from understudy.training.teacher_logprobs import TeacherLogprobScorer, cache_teacher_logprobs


@dataclass(frozen=True)
class LogprobsFacts:
    """What the cache costs and what it leaves out."""

    generator: TextGenerator
    """Whose texts: gold or teacher."""
    texts: int
    positions: int
    bytes_per_position: float
    """On disk, with the count of its tokens."""
    mean_kept: float
    """Tokens kept at a position, in the mean."""
    mean_mass: float
    """Mean probability of the kept tokens."""
    lost_divergence: float | None = None
    """KL divergence of the teacher's distribution from what is kept, its rest spread evenly; in nats per position, the
    mean over every eighth. None for an API teacher: it returns only a part."""
    exact: float | None = None
    """Share of positions at which the teacher's tokens are the student's; None for a local teacher whose tokenizer is
    the student's."""
    merged: float | None = None
    """Share of those at which a token of the teacher begins and ends elsewhere."""
    text: float | None = None
    """Share of positions for which nothing is known but the text."""
    inside: float | None = None
    """Share of those that begin within a token of a local teacher."""


class LogprobsStage(Stage[LogprobsFacts]):
    """A cache of log-probabilities, whichever teacher it comes from."""

    def content(self, sources: TokenArrays, texts: TokenArrays) -> str:
        """Identifies the teacher, the sources as it reads them, and the texts, token by token."""
        raise NotImplementedError


@dataclass(frozen=True)
class TeacherLogprobsStage(LogprobsStage):
    """The most probable tokens of a local teacher at every position, and their log-probabilities.

    If the teacher has another tokenizer, they are the student's tokens, from a map of the two tokenizers that follows
    from them alone and is built once.
    """

    generator: TextGenerator
    """Whose texts: gold or teacher."""
    teacher: Stage[Any]
    student: TokenizerSource
    """Some tokenizers begin the target of an encoder-decoder with a token, so the ids depend on who reads them."""
    examples: ExamplesStage
    pool: Stage[Any] | None
    """None for gold."""
    limits: TextLimits
    kept_tokens: int
    precision: AutocastPrecision
    device: str
    teacher_limits: TextLimits | None = None
    """How the teacher reads the task, where it has a prompt of its own."""
    top_p: float | None = None
    """Probability mass after which no further token is kept; None: always `kept_tokens`."""
    bf16_teacher: bool | None = None
    """Whether its weights are in bfloat16; None: in float32."""
    name: ClassVar[str] = "teacher_logprobs"
    version: ClassVar[int] = 3
    on_all_ranks: ClassVar[bool] = True

    def content(self, sources: TokenArrays, texts: TokenArrays) -> str:
        """As in the base class."""
        return texts_key(self.teacher.key, sources, texts)

    def run(self, folder: Path, context: WorkerContext) -> LogprobsFacts:
        """Scores all texts, chunk by chunk; an interrupted attempt resumes at the last chunk.

        Ranks other than 0 score with it and write nothing; their facts are empty.
        """
        ranks = context.begin_on_all_ranks(folder)
        examples = source_examples(read_data(context.folder(self.examples)))
        tokenizers = TaskTokenizers(
            load_task_tokenizer(FromStage(self.teacher), self.teacher_limits or self.limits, context),
            load_task_tokenizer(self.student, self.limits, context),
        )
        sources = teacher_sources(examples, tokenizers, context.progress)
        sources = encoded_sources(examples, tokenizers.student, context.progress) if sources is None else sources
        targets = self._targets(examples, tokenizers, context)
        other = tokenizers.other
        vocab_size = len(other.tokens.teacher) if other else len(tokenizers.teacher.tokenizer)
        network = load_stage_network(self.teacher, context, bf16=self.bf16_teacher).requires_grad_(requires_grad=False)
        scorer = TeacherLogprobScorer(
            TargetLogits(network.to(self.device), vocab_size, self.precision, tokenizers.swapped_ends),
            sources,
            self.kept_tokens,
            tokenizers.teacher.pad_id,
            self.top_p or 1.0,
            other,
        )
        cache = self._file(folder, scorer, self.content(sources, targets.texts)) if ranks.is_first else None
        items = TrainItems.of_all(self.generator, targets)
        of = "gold" if self.generator == "gold" else "pseudo-targets"
        with context.progress.track(f"teacher log-probabilities of {of}", len(items), "input") as progress:
            cache_teacher_logprobs(scorer, items, targets.texts, cache, progress, ranks)
        shares = other.shares(items, targets.texts, sources) if other and cache else None
        return logprobs_facts(self.generator, targets.texts, cache.totals if cache else CacheTotals(), shares)

    def _file(self, folder: Path, scorer: TeacherLogprobScorer, content: str) -> LogprobCacheFile:
        vocab_size = scorer.student_vocab_size
        top_k = min(self.kept_tokens, vocab_size)
        return LogprobCacheFile.open(folder, top_k=top_k, vocab_size=vocab_size, fingerprint=content)

    def _targets(self, examples: Sequence[Example], tokenizers: TaskTokenizers, context: WorkerContext) -> Targets:
        if self.pool is None:
            return gold_targets(examples, tokenizers.student, context.progress)
        return pool_targets(examples, tokenizers, PseudoTargetPool.open(context.folder(self.pool)), context.progress)


def read_logprobs(
    stage: LogprobsStage, generator: TextGenerator, mixture: Mixture, context: WorkerContext
) -> LogprobCache:
    """The log-probabilities of a finished stage.

    Raises:
        PoolError: if they are not those of the mixture's texts.
    """
    texts = mixture.targets[generator].texts
    return read_logprob_cache(
        context.folder(stage),
        positions=len(texts.flat),
        fingerprint=stage.content(mixture.sources_for_teacher, texts),
    )


def texts_key(teacher: str, sources: TokenArrays, texts: TokenArrays) -> str:
    """A hash of the teacher's key and of token ids."""
    digest = hashlib.sha256()
    for arrays in (sources, texts):
        digest.update(np.ascontiguousarray(arrays.flat).data)
        digest.update(np.ascontiguousarray(arrays.offsets).data)
    return content_key({"teacher": teacher, "texts": digest.hexdigest()})


def logprobs_facts(
    generator: TextGenerator, texts: TokenArrays, totals: CacheTotals, shares: Mapping[str, float] | None = None
) -> LogprobsFacts:
    """What a cache costs and what it leaves out."""
    positions = max(1, totals.positions)
    return LogprobsFacts(
        generator=generator,
        texts=len(texts),
        positions=totals.positions,
        bytes_per_position=(totals.row_bytes + totals.count_bytes) / positions,
        mean_kept=totals.kept / positions,
        mean_mass=totals.mass / positions,
        lost_divergence=totals.lost / totals.measured if totals.measured else None,
        **(shares or {}),
    )
