"""What a teacher gives: targets, log-probabilities, predictions; from a network here, or from an API.

This is the only module that distinguishes the two. A run has one order of stages for both (`run.py`).
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from understudy.api_teacher.collect import endpoint_for
from understudy.api_teacher.response_logprobs import refuse_missing_logprobs
from understudy.config.decoding import DiverseBeam, EngineName
from understudy.config.endpoint import Endpoint
from understudy.config.model_sections import (
    EndpointTeacher,
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
)
from understudy.config.pool_selection import ClosestToGold, KeepAll
from understudy.config.recipe import Recipe
from understudy.executors.local import Local
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import RunContext, default_device, resolve_precision
from understudy.pipeline.metric_settings import references_by_teacher
from understudy.pipeline.model_checks import check_models
from understudy.pipeline.model_sources import (
    FromCheckpoint,
    FromScratch,
    FromStage,
    ModelSource,
    TokenizerSource,
    Tokens,
    checkpoint_content,
)
from understudy.pipeline.prepare import PreparedTask, data_stage, examples_stage, require_inputs
from understudy.pipeline.recipe_checks import check_names
from understudy.pipeline.stages.api_logprobs import ApiLogprobsStage
from understudy.pipeline.stages.api_pool import ApiPoolStage
from understudy.pipeline.stages.api_responses import ApiResponsesStage, responses_stage
from understudy.pipeline.stages.conversion import ConversionStage
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage, labels_content
from understudy.pipeline.stages.pool_selection import PoolSelectionStage
from understudy.pipeline.stages.predictions import PredictionsStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.stages.report_parts import ApiReport
from understudy.pipeline.stages.teacher import TeacherStage
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage, TeacherLogprobsStage
from understudy.pipeline.stages.tokenizer import TokenizerStage
from understudy.pipeline.systems import System
from understudy.records import TextGenerator
from understudy.report.facts import TEACHER
from understudy.store import Stage


class TeacherOutputs(Protocol):
    """What the rest of a run takes from its teacher."""

    @property
    def task(self) -> PreparedTask:
        """The recipe, prepared."""

    @property
    def source(self) -> ModelSource:
        """How the teacher reads the task; for an API teacher, how the student does."""

    @property
    def network(self) -> Stage[Any] | None:
        """The teacher's network; an API teacher has none here."""

    @property
    def leaves_inputs_out(self) -> bool:
        """Whether inputs may remain without a text."""

    @property
    def pool_tokens(self) -> TokenizerSource:
        """Whose token ids its texts have."""

    def targets(self) -> Stage[Any] | None:
        """The pseudo-targets that are learned; None where the method learns none."""

    def logprobs(self, generator: TextGenerator, kept_tokens: int) -> LogprobsStage:
        """The log-probabilities of texts that exist before training."""

    def system(self) -> System:
        """The teacher as a system that is scored."""

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:
        """What the report says of an API teacher."""


@dataclass(frozen=True)
class LocalTeacher:
    """A teacher whose network is on this machine."""

    task: PreparedTask
    network: Stage[Any]
    examples: ExamplesStage
    """What it can read completely: the inputs of its pseudo-targets."""
    facts: ExamplesFacts
    leaves_inputs_out: bool = False

    @property
    def source(self) -> ModelSource:
        """As the protocol says."""
        return FromStage(self.network)

    @property
    def pool_tokens(self) -> TokenizerSource:
        """As the protocol says."""
        return TokenizerSource(self.network)

    def targets(self) -> Stage[Any] | None:
        """As the protocol says; after selection."""
        recipe, requested = self.task.recipe, self.task.recipe.pseudo_targets
        if not recipe.distil.targets.teacher:
            return None
        engine: EngineName = "hf" if isinstance(requested.decoding, DiverseBeam) else recipe.engine
        pool = PseudoTargetsStage(
            ConversionStage(self.network, engine),
            self.examples,
            requested.inputs,
            requested.per_input,
            requested.decoding,
            requested.shard_inputs,
            self.task.limits,
            recipe.seed,
            default_device(),
        )
        if isinstance(requested.select, KeepAll):
            return pool
        gold = None
        if isinstance(requested.select, ClosestToGold):  # no other selection compares with gold
            gold = labels_content(self.examples, self.facts, "labeled")
        return PoolSelectionStage(pool, requested.select, gold)

    def logprobs(self, generator: TextGenerator, kept_tokens: int) -> LogprobsStage:
        """As the protocol says."""
        return TeacherLogprobsStage(
            generator,
            self.network,
            self.task.student,
            self.task.examples,
            self.targets() if generator == "teacher" else None,
            self.task.limits,
            kept_tokens,
            resolve_precision(self.task.recipe.precision),
            default_device(),
        )

    def system(self) -> System:
        """As the protocol says."""
        return local_system(self.task, TEACHER, self.network)

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:  # noqa: ARG002 - a TeacherOutputs
        """Nothing: there are no requests."""
        return None


@dataclass(frozen=True)
class ApiTeacher:
    """A teacher behind an OpenAI-compatible server."""

    task: PreparedTask
    responses: ApiResponsesStage
    source: ModelSource
    top_logprobs: int
    network: Stage[Any] | None = None
    leaves_inputs_out: bool = True

    @property
    def pool_tokens(self) -> TokenizerSource:
        """As the protocol says: the texts are encoded for the student."""
        return self.task.student

    def targets(self) -> Stage[Any] | None:
        """As the protocol says: the responses as the student's tokens, none of them truncated."""
        inputs = self.task.recipe.pseudo_targets.inputs
        return ApiPoolStage(self.responses, self.task.examples, self.task.student, inputs, self.task.limits)

    def logprobs(self, generator: TextGenerator, kept_tokens: int) -> LogprobsStage:
        """As the protocol says; the server gives a few tokens per position, and the one it generated."""
        return ApiLogprobsStage(
            generator,
            self.responses,
            ApiPoolStage(
                self.responses,
                self.task.examples,
                self.task.student,
                self.task.recipe.pseudo_targets.inputs,
                self.task.limits,
            ),
            self.task.examples,
            self.task.student,
            self.task.limits,
            min(kept_tokens, self.top_logprobs + 1),
        )

    def system(self) -> System:
        """As the protocol says."""
        return System(TEACHER, self.responses, self.task.recipe.pseudo_targets.decoding.kind)

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:
        """As the protocol says."""
        pool = self.targets()
        assert pool is not None  # noqa: S101 - an API teacher always has targets
        return ApiReport(self.responses, pool, logprobs)


def local_system(task: PreparedTask, name: str, network: Stage[Any]) -> System:
    """A network as a system that is scored."""
    recipe = task.recipe
    converted = ConversionStage(network, recipe.engine)
    predictions = PredictionsStage(
        converted,
        task.scored(),
        recipe.evaluation.decoding,
        "nll" in recipe.task.metrics,
        task.limits,
        default_device(),
    )
    return System(name, predictions, recipe.evaluation.decoding.kind, network, converted)


def open_teacher(recipe: Recipe, context: RunContext) -> TeacherOutputs:
    """A recipe's teacher, after the stages that all keys depend on were made and the models were checked.

    Raises:
        UnderstudyError: if the data, the checkpoints or an API teacher's responses cannot be used.
    """
    check_names(recipe, allow_code=context.allow_code)
    if isinstance(recipe.teacher, EndpointTeacher):
        return _api_teacher(recipe, recipe.teacher, context)
    return _local_teacher(recipe, recipe.teacher, context)


def endpoint_of(recipe: Recipe) -> Endpoint | None:
    """The server of an API teacher with how it samples; None for a local teacher."""
    if not isinstance(recipe.teacher, EndpointTeacher):
        return None
    requested = recipe.pseudo_targets
    return endpoint_for(recipe.teacher.endpoint, requested.decoding, requested.per_input)


def _local_teacher(recipe: Recipe, teacher: ScratchTeacher | PretrainedTeacher, context: RunContext) -> LocalTeacher:
    data, with_withheld = data_stage(recipe), teacher.labels == "all"
    if isinstance(teacher, ScratchTeacher):
        tokens: Tokens = TokenizerStage(data, recipe.task.prompt, teacher.vocab_size, with_withheld)
        reads = TokenizerSource(tokens, teacher.scratch)
        start: ModelSource = FromScratch(teacher.scratch, tokens, recipe.seed)
    else:
        tokens = checkpoint_content(teacher.model)
        reads, start = TokenizerSource(tokens), FromCheckpoint(tokens)
    match recipe.student:
        case PretrainedStudent(model=name):
            student = TokenizerSource(checkpoint_content(name))
        case ScratchStudent(scratch=scratch):
            student = TokenizerSource(tokens, scratch)
        case PrunedStudent():
            student = reads
    check_models(recipe, reads, student)
    of_teacher = examples_stage(recipe, data, reads)
    task = _prepared(recipe, context, of_teacher, examples_stage(recipe, data, reads, student), student, tokens)
    settings = task.training(teacher.finetune, seed=recipe.seed) if teacher.finetune else None
    labels = task.teacher_labels(with_withheld=with_withheld) if settings else None
    network = TeacherStage(start, task.limits, labels, with_withheld=bool(labels) and with_withheld, settings=settings)
    return LocalTeacher(task, network, task.teacher_examples, task.teacher_facts)


def _api_teacher(recipe: Recipe, teacher: EndpointTeacher, context: RunContext) -> ApiTeacher:
    data = data_stage(recipe)
    readable = examples_stage(recipe, data)
    if isinstance(recipe.student, PretrainedStudent):  # what the student cannot read is not requested
        content = checkpoint_content(recipe.student.model)
        readable = examples_stage(recipe, data, TokenizerSource(content))
        if recipe.distil.kept_tokens:
            TokenBytes(load_tokenizer(content.place))  # refuses tokenizers whose tokens have no bytes
    readable = replace(readable, with_likelihood=False)  # references may not exist yet
    endpoint = endpoint_for(teacher.endpoint, recipe.pseudo_targets.decoding, recipe.pseudo_targets.per_input)
    by_teacher = references_by_teacher(recipe.task)
    responses = responses_stage(endpoint, readable, recipe.pseudo_targets.inputs, by_teacher)
    require_inputs(recipe, context.store.get(readable, Local(), context))
    facts = context.store.get(responses, Local(), context)
    if recipe.distil.needs_teacher_logits:
        refuse_missing_logprobs(facts.texts, facts.with_logprobs)
    source: ModelSource
    match recipe.student:
        case PretrainedStudent(model=name):
            tokens: Tokens = checkpoint_content(name)
            student, source = TokenizerSource(tokens), FromCheckpoint(checkpoint_content(name))
        case ScratchStudent(scratch=scratch):
            tokens = TokenizerStage(
                data, recipe.task.prompt, teacher.vocab_size, with_withheld=False, responses=responses
            )
            student = TokenizerSource(tokens, scratch)
            source = FromScratch(scratch, tokens, recipe.seed_of_students)
        case PrunedStudent():
            raise AssertionError(recipe.student)  # the recipe refuses to prune an API teacher
    left = examples_stage(recipe, data, student)
    if by_teacher:
        left = replace(left, responses=responses, references_by_teacher=by_teacher)
    task = _prepared(recipe, context, left, left, student, tokens)
    return ApiTeacher(task, responses, source, teacher.endpoint.top_logprobs)


def _prepared(
    recipe: Recipe,
    context: RunContext,
    of_teacher: ExamplesStage,
    of_both: ExamplesStage,
    student: TokenizerSource,
    tokens: Tokens,
) -> PreparedTask:
    store = context.store
    task = PreparedTask(
        recipe,
        of_both.data,
        of_teacher,
        store.get(of_teacher, Local(), context),
        of_both,
        store.get(of_both, Local(), context),
        student,
        tokens,
    )
    require_inputs(recipe, task.facts)
    return task
