"""The stage of an API teacher's pseudo-targets as the student's tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.api_teacher.responses import tokenized_rows
from understudy.config.pseudo_targets import InputKind
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import TokenizerSource, load_task_tokenizer
from understudy.pipeline.stages.api_responses import ApiResponsesStage
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import POOL_FILE, write_pool_file
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class ApiPoolFacts:
    """How many texts are learned."""

    texts: int
    too_long: int
    """Texts over the student's limit, or for inputs that it cannot read: they are left out, none is truncated."""


@dataclass(frozen=True)
class ApiPoolStage(Stage[ApiPoolFacts]):
    """The texts of the responses with the student's token ids."""

    responses: ApiResponsesStage
    examples: ExamplesStage
    student: TokenizerSource
    inputs: tuple[InputKind, ...]
    limits: TextLimits
    name: ClassVar[str] = "api_pool"

    def run(self, folder: Path, context: WorkerContext) -> ApiPoolFacts:
        """Encodes the texts.

        Raises:
            PoolError: if none is within the limit.
        """
        responses = PseudoTargetPool.open(context.folder(self.responses))
        tokenizer = load_task_tokenizer(self.student, self.limits, context)
        place = context.folder(self.examples)
        ids = [example.id for kind in self.inputs for example in load_split(place, kind)]
        rows = tokenized_rows(responses, ids, tokenizer.encode_targets, max_tokens=self.limits.max_target_tokens)
        write_pool_file(folder / POOL_FILE, rows, {**responses.provenance, "tokens": "student"})
        return ApiPoolFacts(len(rows), len(responses) - len(rows))
