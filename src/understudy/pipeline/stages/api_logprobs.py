"""The stage of an API teacher's log-probabilities, aligned with the student's tokens."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from understudy.api_teacher.response_logprobs import LOGPROBS, align_response_logprobs, match_response_logprobs
from understudy.models.task_tokenizer import TextLimits
from understudy.models.token_bytes import TokenBytes
from understudy.pipeline.model_sources import TokenizerSource, load_task_tokenizer
from understudy.pipeline.stages.api_pool import ApiPoolStage
from understudy.pipeline.stages.api_responses import ApiResponsesStage
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.teacher_logprobs import LogprobsFacts, LogprobsStage, logprobs_facts, texts_key
from understudy.pipeline.training_data import (
    TaskTokenizers,
    encoded_sources,
    gold_targets,
    pool_targets,
    source_examples,
)
from understudy.pool.logprob_cache import PART, LogprobCacheFile, TeacherLogprobs, unordered_logprobs
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import Progress, track_many
from understudy.records import TextGenerator
from understudy.store import WorkerContext


@dataclass(frozen=True)
class ApiLogprobsStage(LogprobsStage):
    """Log-probabilities of the student's tokens; text without any, such as gold, has all mass on its label."""

    generator: TextGenerator
    responses: ApiResponsesStage
    pool: ApiPoolStage
    examples: ExamplesStage
    student: TokenizerSource
    limits: TextLimits
    kept_tokens: int
    top_p: float | None = None
    """As in `TeacherLogprobsStage`."""
    name: ClassVar[str] = "api_logprobs"
    version: ClassVar[int] = 2

    def content(self, sources: TokenArrays, texts: TokenArrays) -> str:
        """As in the base class."""
        return texts_key(self.responses.key, sources, texts)

    def run(self, folder: Path, context: WorkerContext) -> LogprobsFacts:
        """Aligns the log-probabilities, text by text."""
        examples = source_examples(read_data(context.folder(self.examples)))
        tokenizer = load_task_tokenizer(self.student, self.limits, context)
        tokenizers = TaskTokenizers(tokenizer, tokenizer)
        pool = PseudoTargetPool.open(context.folder(self.pool))
        of_teacher = self.generator == "teacher"
        progress = context.progress
        targets = (
            pool_targets(examples, tokenizers, pool, progress)
            if of_teacher
            else gold_targets(examples, tokenizer, progress)
        )
        sources = encoded_sources(examples, tokenizer, progress)
        cache = LogprobCacheFile.open(
            folder,
            top_k=min(self.kept_tokens, len(tokenizer.tokenizer)),
            vocab_size=len(tokenizer.tokenizer),
            fingerprint=self.content(sources, targets.texts),
            dtype=np.float32,
        )
        place = context.folder(self.responses)
        matched = match_response_logprobs(PseudoTargetPool.open(place), pool, place / LOGPROBS) if of_teacher else ()
        # Records are in the order of the responses, and rows of the file in that of the targets.
        with unordered_logprobs(folder, positions=len(targets.texts.flat), top_k=cache.shape["top_k"]) as aligned:
            with track_many(progress, "align the API's log-probabilities", len(targets.texts), "text") as advance:
                shares = align_response_logprobs(
                    targets.texts,
                    matched,
                    aligned,
                    token_bytes=TokenBytes(tokenizer.tokenizer),
                    decode=tokenizer.decode,
                    progress=advance,
                )
            _write_in_order(aligned, cache, self.top_p or 1.0, progress)
        return logprobs_facts(self.generator, targets.texts, cache.totals, asdict(shares))


def _write_in_order(aligned: TeacherLogprobs, cache: LogprobCacheFile, top_p: float, progress: Progress) -> None:
    """Appends the positions that are not on disk yet, part by part."""
    positions = len(aligned.ids_PK)
    with track_many(progress, "write the API's log-probabilities", positions, "position") as advance:
        advance(cache.totals.positions)
        for start in range(cache.totals.positions, positions, PART):
            part = aligned.at(np.arange(start, min(start + PART, positions)))
            cache.append(_truncated(part, top_p), done=start)
            advance(len(part.ids_PK))


def _truncated(logprobs: TeacherLogprobs, top_p: float) -> TeacherLogprobs:
    """The same without the tokens after those that have a mass of `top_p`; tokens are sorted by probability."""
    if top_p == 1:
        return logprobs
    p_PK = np.exp(logprobs.logp_PK)
    beyond_PK = np.cumsum(p_PK, axis=1) - p_PK >= top_p
    return TeacherLogprobs(logprobs.ids_PK, np.where(beyond_PK, -np.inf, logprobs.logp_PK))
