"""The outputs of a teacher whose network is on this machine: fine-tuned, generating, scoring."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from understudy.config.decoding import DiverseBeam, EngineName
from understudy.config.model_sections import (
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
    SourceFormat,
)
from understudy.config.pool_selection import ClosestToGold, KeepAll
from understudy.config.recipe import Recipe
from understudy.models.task_tokenizer import TextLimits, choose_source_format
from understudy.pipeline.context import RunContext, default_device, resolve_precision
from understudy.pipeline.model_checks import check_models
from understudy.pipeline.model_sources import (
    FromCheckpoint,
    FromScratch,
    FromStage,
    ModelSource,
    TokenizerSource,
    checkpoint_path,
    pretrained_checkpoint,
)
from understudy.pipeline.prepare import PreparedTask, data_stage, examples_stage, prepared_task
from understudy.pipeline.stages.conversion import ConversionStage
from understudy.pipeline.stages.data import DataStage
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage, labels_content
from understudy.pipeline.stages.pool_selection import PoolSelectionStage
from understudy.pipeline.stages.predictions import PredictionsStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.stages.report_parts import ApiReport
from understudy.pipeline.stages.teacher import TeacherStage
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage, TeacherLogprobsStage
from understudy.pipeline.stages.tokenizer import TokenizerStage
from understudy.pipeline.systems import System
from understudy.pipeline.teacher_prompt import teacher_limits
from understudy.pipeline.trimmed_vocabulary import student_vocabulary, teacher_vocabulary
from understudy.records import TextGenerator
from understudy.report.facts import TEACHER
from understudy.store import Stage

MIN_FINISHED = 0.5
"""Smallest share of usable texts of a teacher that is used as it is; a fine-tuned one is judged by its dev scores."""


@dataclass(frozen=True)
class LocalTeacher:
    """A teacher whose network is on this machine."""

    task: PreparedTask
    network: Stage[Any]
    examples: ExamplesStage
    """What it can read completely: the inputs of its pseudo-targets."""
    facts: ExamplesFacts
    own_limits: TextLimits | None = None
    """How it reads the task, where it has a prompt that the student does not see."""
    leaves_inputs_out: bool = False

    @property
    def source(self) -> ModelSource:
        """See `TeacherOutputs`."""
        return FromStage(self.network)

    @property
    def pool_tokens(self) -> TokenizerSource:
        """See `TeacherOutputs`."""
        return TokenizerSource(self.network)

    def targets(self) -> Stage[Any] | None:
        """See `TeacherOutputs`; after selection."""
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
            self.own_limits or self.task.limits,
            recipe.seed,
            default_device(),
            self._min_finished(),
            generation_type(recipe),
        )
        if isinstance(requested.select, KeepAll):
            return pool
        gold = None
        if isinstance(requested.select, ClosestToGold):  # no other selection compares with gold
            gold = labels_content(self.examples, self.facts, "labeled")
        return PoolSelectionStage(pool, requested.select, gold)

    def _min_finished(self) -> float:
        """The recipe's share, or what holds where it names none."""
        recipe = self.task.recipe
        if recipe.pseudo_targets.min_finished is not None:
            return recipe.pseudo_targets.min_finished
        return 0.0 if getattr(recipe.teacher, "finetune", None) else MIN_FINISHED

    def logprobs(self, generator: TextGenerator, kept_tokens: int, top_p: float | None) -> LogprobsStage:
        """See `TeacherOutputs`."""
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
            self.own_limits,
            top_p,
            self.task.recipe.distil.bf16_teacher,
        )

    def system(self) -> System:
        """See `TeacherOutputs`."""
        return local_system(self.task, TEACHER, self.network, self.own_limits)

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:  # noqa: ARG002 - a TeacherOutputs
        """Nothing: there are no requests."""
        return None


def local_system(task: PreparedTask, name: str, network: Stage[Any], limits: TextLimits | None = None) -> System:
    """A network as a system that is scored; `limits` are those of a teacher with a prompt of its own."""
    recipe = task.recipe
    converted = ConversionStage(network, recipe.engine)
    predictions = PredictionsStage(
        converted,
        task.scored(),
        recipe.evaluation.decoding,
        task.likelihood,
        limits or task.limits,
        default_device(),
    )
    return System(name, predictions, recipe.evaluation.decoding.kind, network, converted)


def generation_type(recipe: Recipe) -> str | None:
    """The type of the weights with which the teacher generates pseudo-targets; None is float32, as everywhere else."""
    requested = recipe.pseudo_targets.compute_type
    return None if requested == "float32" else requested


def open_local_teacher(
    recipe: Recipe, teacher: ScratchTeacher | PretrainedTeacher, context: RunContext
) -> LocalTeacher:
    """A local teacher, after the stages that all keys depend on were made and the models were checked."""
    data, with_withheld = data_stage(recipe), teacher.labels == "all"
    whole, student = _whole_tokenizers(recipe, teacher, data, context)
    check_models(recipe, whole, student, context)
    own = teacher_limits(recipe, context, whole.format, trained=teacher.finetune is not None)
    trimmed = teacher_vocabulary(recipe, whole, context, own)
    reads = replace(whole, tokens=trimmed or whole.tokens)
    if students := student_vocabulary(recipe, student, context, teacher=whole, teacher_trimmed=trimmed):
        student = replace(student, tokens=students)
    elif student.tokens == whole.tokens and not isinstance(recipe.student, PretrainedStudent):
        student = replace(student, tokens=reads.tokens)
    of_teacher = examples_stage(recipe, data, context, reads, teacher_limits=own)
    of_both = examples_stage(recipe, data, context, reads, student, teacher_limits=own)
    task = prepared_task(recipe, context, of_teacher, of_both, student, reads.tokens)
    settings = task.training(teacher.finetune, seed=recipe.seed) if teacher.finetune else None
    labels = task.teacher_labels(with_withheld=with_withheld) if settings else None
    if settings and own:
        settings = replace(settings, limits=own)
    start: ModelSource = FromCheckpoint(whole.tokens, whole.format, trimmed)
    if isinstance(teacher, ScratchTeacher):
        start = FromScratch(teacher.scratch, whole.tokens, recipe.seed)
    network = TeacherStage(
        start, own or task.limits, labels, with_withheld=bool(labels) and with_withheld, settings=settings
    )
    return LocalTeacher(task, network, task.teacher_examples, task.teacher_facts, own)


def _whole_tokenizers(
    recipe: Recipe, teacher: ScratchTeacher | PretrainedTeacher, data: DataStage, context: RunContext
) -> tuple[TokenizerSource, TokenizerSource]:
    """The tokenizers of teacher and student before a vocabulary is trimmed."""
    if isinstance(teacher, ScratchTeacher):
        tokens = TokenizerStage(data, recipe.task.prompt, teacher.vocab_size, teacher.labels == "all")
        reads = TokenizerSource(tokens, teacher.scratch)
    else:
        reads = _pretrained(teacher.model, teacher.template, context, trained=teacher.finetune is not None)
    match recipe.student:
        case PretrainedStudent(model=name, template=template):
            return reads, _pretrained(name, template, context, trained=True)
        case ScratchStudent(scratch=scratch, vocab_size=None):
            return reads, TokenizerSource(reads.tokens, scratch)
        case ScratchStudent(scratch=scratch, vocab_size=int(size)):
            own = TokenizerStage(data, recipe.task.prompt, size, with_withheld=False)
            return reads, TokenizerSource(own, scratch)
        case PrunedStudent():
            return reads, reads
    raise AssertionError(recipe.student)


def _pretrained(
    name: str, template: Literal["auto"] | SourceFormat, context: RunContext, *, trained: bool
) -> TokenizerSource:
    """How a pretrained checkpoint reads the task."""
    checkpoint = pretrained_checkpoint(name, context)
    chosen = choose_source_format(checkpoint_path(checkpoint, context), template, trained=trained)
    return TokenizerSource(checkpoint, format=chosen)
