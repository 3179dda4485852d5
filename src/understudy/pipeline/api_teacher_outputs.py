"""The outputs of a teacher behind an OpenAI-compatible server: responses, and the log-probabilities it returns."""

from dataclasses import dataclass, replace
from typing import Any

from understudy.api_teacher.collect import endpoint_for
from understudy.api_teacher.response_logprobs import refuse_missing_logprobs
from understudy.config.model_sections import (
    EndpointTeacher,
    PretrainedStudent,
    PrunedStudent,
    ScratchStudent,
)
from understudy.config.recipe import Recipe
from understudy.executors.local import Local
from understudy.models.checkpoint_checks import refuse_unusable_checkpoint
from understudy.models.task_tokenizer import TextLimits, choose_source_format
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import RunContext
from understudy.pipeline.metric_settings import references_by_teacher
from understudy.pipeline.model_checks import check_trainings
from understudy.pipeline.model_sources import (
    FromCheckpoint,
    FromScratch,
    ModelSource,
    TokenizerSource,
    Tokens,
    checkpoint_path,
    pretrained_checkpoint,
    tokenizer_source,
)
from understudy.pipeline.prepare import (
    PreparedTask,
    data_stage,
    examples_stage,
    prepared_task,
    require_inputs,
    text_limits,
)
from understudy.pipeline.stages.api_logprobs import ApiLogprobsStage
from understudy.pipeline.stages.api_pool import ApiPoolStage
from understudy.pipeline.stages.api_responses import ApiResponsesStage, responses_stage
from understudy.pipeline.stages.examples import ExamplesStage, labels_content
from understudy.pipeline.stages.metric_choice import metric_choice
from understudy.pipeline.stages.network_check import NetworkCheckStage, network_check
from understudy.pipeline.stages.report_parts import ApiReport
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage
from understudy.pipeline.stages.text_check import TextCheckStage
from understudy.pipeline.stages.tokenizer import TokenizerStage
from understudy.pipeline.systems import System
from understudy.pipeline.trimmed_vocabulary import student_vocabulary
from understudy.records import TextGenerator
from understudy.report.facts import TEACHER
from understudy.store import Stage


@dataclass(frozen=True)
class ApiTeacher:
    """A teacher behind an OpenAI-compatible server."""

    task: PreparedTask
    responses: ApiResponsesStage
    source: ModelSource
    top_logprobs: int
    network: Stage[Any] | None = None
    own_limits: TextLimits | None = None
    leaves_inputs_out: bool = True

    @property
    def pool_tokens(self) -> TokenizerSource:
        """See `TeacherOutputs`: the texts are encoded for the student."""
        return self.task.student

    def targets(self) -> Stage[Any] | None:
        """See `TeacherOutputs`: the responses as the student's tokens, none of them truncated."""
        inputs = self.task.recipe.pseudo_targets.inputs
        return ApiPoolStage(self.responses, self.task.examples, self.task.student, inputs, self.task.limits)

    def logprobs(self, generator: TextGenerator, kept_tokens: int, top_p: float | None) -> LogprobsStage:
        """See `TeacherOutputs`; the server gives a few tokens per position, and the one it generated."""
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
            top_p,
        )

    def system(self) -> System:
        """See `TeacherOutputs`."""
        return System(TEACHER, self.responses, self.task.recipe.pseudo_targets.decoding.kind)

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:
        """See `TeacherOutputs`."""
        pool = self.targets()
        assert pool is not None  # noqa: S101 - an API teacher always has targets
        return ApiReport(self.responses, pool, logprobs)


def before_requests(
    recipe: Recipe, teacher: EndpointTeacher, context: RunContext
) -> tuple[ExamplesStage, ApiResponsesStage]:
    """The inputs that will be requested, which are made now, and the stage of their responses."""
    data = data_stage(recipe)
    readable = examples_stage(recipe, data, context)
    if isinstance(recipe.student, PretrainedStudent):  # what the student cannot read is not requested
        checkpoint = pretrained_checkpoint(recipe.student.model, context)
        path = checkpoint_path(checkpoint, context)
        refuse_unusable_checkpoint(path)
        check_trainings(recipe, context)
        chosen = choose_source_format(path, recipe.student.template, trained=True)
        readable = examples_stage(recipe, data, context, TokenizerSource(checkpoint, format=chosen))
        if recipe.distil.kept_tokens:
            TokenBytes(load_tokenizer(path))  # refuses tokenizers whose tokens have no bytes
    readable = replace(readable, with_likelihood=False)  # references may not exist yet
    endpoint = endpoint_for(teacher.endpoint, recipe.pseudo_targets.decoding, recipe.pseudo_targets.per_input)
    kinds = recipe.pseudo_targets.inputs
    responses = responses_stage(endpoint, readable, kinds, references_by_teacher(recipe.task))
    require_inputs(recipe, context.store.get(readable, Local(), context))
    context.store.get(metric_choice(recipe, readable), Local(), context)  # refuses metrics before anything is paid
    return readable, responses


def student_checks(
    recipe: Recipe, readable: ExamplesStage, context: RunContext
) -> tuple[NetworkCheckStage | TextCheckStage, ...]:
    """The checks of a pretrained student, which are made before a request is paid for."""
    if not isinstance(recipe.student, PretrainedStudent):
        return ()
    start = FromCheckpoint(pretrained_checkpoint(recipe.student.model, context))
    limits, labels = text_limits(recipe), labels_content(readable, context.facts(readable), "labeled")
    return (
        TextCheckStage("student", tokenizer_source(start), labels, limits),
        network_check("student", start, context.folder(readable), limits, recipe.engine),
    )


def open_api_teacher(recipe: Recipe, teacher: EndpointTeacher, context: RunContext) -> ApiTeacher:
    """An API teacher, after its responses were collected: the tokenizer and the references depend on them."""
    data, by_teacher = data_stage(recipe), references_by_teacher(recipe.task)
    readable, responses = before_requests(recipe, teacher, context)
    if not context.store.finished(responses):
        for stage in student_checks(recipe, readable, context):
            context.store.get(stage, Local(), context)
    facts = context.store.get(responses, Local(), context)
    if recipe.distil.needs_teacher_logits:
        refuse_missing_logprobs(facts.texts, facts.with_logprobs)
    source: ModelSource
    match recipe.student:
        case PretrainedStudent(model=name):
            tokens: Tokens = (checkpoint := pretrained_checkpoint(name, context))
            chosen = choose_source_format(checkpoint_path(checkpoint, context), recipe.student.template, trained=True)
            student = TokenizerSource(tokens, format=chosen)
            trimmed = student_vocabulary(recipe, student, context, responses=responses)
            source = FromCheckpoint(tokens, student.format, trimmed)
            student = replace(student, tokens=trimmed or tokens)
        case ScratchStudent(scratch=scratch):
            tokens = TokenizerStage(
                data, recipe.task.prompt, teacher.vocab_size, with_withheld=False, responses=responses
            )
            student = TokenizerSource(tokens, scratch)
            source = FromScratch(scratch, tokens, recipe.seed_of_students)
        case PrunedStudent():
            raise AssertionError(recipe.student)  # the recipe refuses to prune an API teacher
    left = examples_stage(recipe, data, context, student)
    if by_teacher:
        left = replace(left, responses=responses, references_by_teacher=by_teacher)
    task = prepared_task(recipe, context, left, left, student, tokens)
    return ApiTeacher(task, responses, source, teacher.endpoint.top_logprobs)
