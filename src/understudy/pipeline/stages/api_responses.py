"""The stage of an API teacher's responses: pseudo-targets, references, and its predictions for dev and test.

The journal lies next to the store and outlives the stage, so other settings of data or student cost nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.api_teacher.collect import (
    collect_groups,
    exclusive_journal,
    refuse_incomplete,
    request_fingerprint,
)
from understudy.api_teacher.journal import Journal
from understudy.api_teacher.request_cost import mean_request_cost
from understudy.api_teacher.response_logprobs import LOGPROBS, write_response_logprobs
from understudy.api_teacher.responses import pool_rows, predictions_of, response_facts, texts_per_input
from understudy.api_teacher.scheduler import PromptGroup
from understudy.config.endpoint import Endpoint
from understudy.config.pseudo_targets import InputKind
from understudy.errors import ConfigError
from understudy.evaluation.predictions import write_predictions
from understudy.pipeline.context import RunContext
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import POOL_FILE, write_pool_file
from understudy.records import Example, TaskData
from understudy.store import Stage, WorkerContext
from understudy.store.stage import content_key

RESPONSES = "responses"
"""Folder next to the store, with a folder for each combination of request settings and its journal."""


@dataclass(frozen=True)
class ApiResponsesFacts:
    """What was requested and what became of it."""

    model: str
    inputs: int
    requests: int
    """All that were ever sent with these settings, those of earlier runs among them."""
    texts: int
    """Pseudo-targets."""
    with_logprobs: int
    """Of these, with log-probabilities of their tokens."""
    rejected: dict[str, int]
    failed: dict[str, int]
    without_reference: dict[str, int]
    """Split -> inputs without a reference."""
    spent: float | None
    request_cost: float | None
    """Mean cost of the answered requests for the fewest texts; None without a price."""
    request_texts: int
    """The number of texts of each of these."""


@dataclass(frozen=True)
class RequestSettings:
    """What determines the responses and which of them are used. Limits on requests are in the context."""

    fingerprint: tuple[tuple[str, str], ...]
    """As `request_fingerprint`, with values as JSON."""
    answer: str
    refusals: tuple[str, ...]
    per_input: int


@dataclass(frozen=True)
class ApiResponsesStage(Stage[ApiResponsesFacts]):
    """The responses of an API teacher as a pool without token ids, and its predictions for dev and test."""

    examples: ExamplesStage
    requests: RequestSettings
    inputs: tuple[InputKind, ...]
    references_by_teacher: tuple[str, ...]
    """Splits whose references it writes: their inputs are requested twice, the second text is the prediction."""
    name: ClassVar[str] = "api_responses"
    version: ClassVar[int] = 2
    in_caller: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> ApiResponsesFacts:
        """Requests what the journal lacks, and writes what it holds.

        Raises:
            GenerationError: if the budget does not suffice, or too many inputs failed. The responses are kept.
        """
        endpoint = _endpoint(context)
        data = read_data(context.folder(self.examples))
        inputs = [example for kind in self.inputs for example in getattr(data, kind)]
        groups = [PromptGroup(inputs, endpoint), *(self._held_out(data, split, endpoint) for split in SCORED_SPLITS)]
        place = context.store.root.parent / RESPONSES / content_key(request_fingerprint(endpoint))
        with exclusive_journal(place, endpoint, wait=context.store.wait) as journal:
            collect_groups(groups, journal, context.progress)
            refuse_incomplete(groups, journal)
            rows = pool_rows(inputs, journal, endpoint)
            provenance = {"teacher": endpoint.model, "requests": journal.path.parent.name}
            write_pool_file(folder / POOL_FILE, rows, provenance)
            pool = PseudoTargetPool.open(folder)
            with_logprobs = write_response_logprobs(inputs, journal.path, endpoint, pool, folder / LOGPROBS)
            without_reference = {
                split: self._write_split(folder, split, data, journal, endpoint) for split in SCORED_SPLITS
            }
            facts = response_facts(groups, journal)
            cost = mean_request_cost(journal.path) if endpoint.price else None
        return ApiResponsesFacts(
            model=facts.model,
            inputs=facts.inputs,
            requests=facts.requests,
            texts=len(rows),
            with_logprobs=with_logprobs,
            rejected=dict(facts.rejected),
            failed=dict(facts.failed),
            without_reference=without_reference,
            spent=facts.spent,
            request_cost=cost.mean if cost else None,
            request_texts=cost.texts if cost else 1,
        )

    def _held_out(self, data: TaskData, split: str, endpoint: Endpoint) -> PromptGroup:
        texts = texts_per_input(teacher_references=split in self.references_by_teacher)
        return PromptGroup(getattr(data, split), endpoint.model_copy(update={"per_input": texts}))

    def _write_split(self, folder: Path, split: str, data: TaskData, journal: Journal, endpoint: Endpoint) -> int:
        """Writes the predictions of a split; returns how many inputs are left out."""
        examples: Sequence[Example] = getattr(data, split)
        predictions = predictions_of(
            split, examples, journal, endpoint, teacher_references=split in self.references_by_teacher
        )
        write_predictions(folder / f"{split}.jsonl", predictions)
        return len(examples) - len(predictions)


def responses_stage(
    endpoint: Endpoint, examples: ExamplesStage, inputs: tuple[InputKind, ...], references_by_teacher: tuple[str, ...]
) -> ApiResponsesStage:
    """The stage of an endpoint's responses to these examples."""
    fingerprint = tuple((name, content_key(value)) for name, value in sorted(request_fingerprint(endpoint).items()))
    requests = RequestSettings(fingerprint, endpoint.answer, endpoint.refusals, endpoint.per_input)
    return ApiResponsesStage(examples, requests, inputs, references_by_teacher)


def _endpoint(context: WorkerContext) -> Endpoint:
    endpoint = context.endpoint if isinstance(context, RunContext) else None
    if endpoint is None:
        raise ConfigError("responses of an API teacher were requested without its server; run the recipe that names it")
    return endpoint
