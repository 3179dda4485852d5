"""The stage of the distilled student: gold, the teacher's texts and its own samples, under one objective."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel

from understudy.config.distil import Distil, Relations
from understudy.config.objectives import AnyObjective, Custom
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.code_content import code_content
from understudy.pipeline.model_sources import ModelSource, load_source, load_stage_network, load_task_tokenizer
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage, read_logprobs
from understudy.pipeline.stages.training import (
    NetworkTraining,
    TrainingFacts,
    TrainingSettings,
    bind,
    resumable,
    taid_schedule,
)
from understudy.pipeline.training_data import (
    MixtureSettings,
    TaskTokenizers,
    distillation_mixture,
    source_examples,
)
from understudy.pool.pool import PseudoTargetPool
from understudy.records import LeftOut, TaskData, TextGenerator
from understudy.store import Content, Stage, WorkerContext
from understudy.training.items import TrainItems
from understudy.training.mixture import Mixture
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.relation_loss import RelationLoss
from understudy.training.rounds import SampleStudent, no_student_samples
from understudy.training.spec import LossSpec, TeacherSpec
from understudy.training.student_sampling import StudentSampler

STUDENT_SAMPLES = "student_samples"
"""Folder of the stage with the texts that the student generated, a pool file per round."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """An objective; the function of one that is the user's own code is content."""

    section: AnyObjective
    code: Content | None = None

    @property
    def requested(self) -> AnyObjective:
        """The objective as the recipe names it."""
        if self.code is None:
            return self.section
        return self.section.model_copy(update={"function": self.code.place})


@dataclass(frozen=True)
class DistillationLoss:
    """What a distillation minimises."""

    objective: ObjectiveSettings
    student_samples_objective: ObjectiveSettings | None
    relations: Relations | None
    enable_teacher_dropout: bool
    enable_student_dropout: bool
    kept_tokens: int | None
    """The most tokens of each teacher distribution that are kept; None: dense, or not needed."""
    top_p: float | None = None
    """Probability mass after which no further token is kept; None: always `kept_tokens`."""
    bf16_teacher: bool | None = None
    """Whether the weights of a teacher that scores texts during training are in bfloat16; None: in float32."""


def distillation_loss(distil: Distil) -> DistillationLoss:
    """The loss of a recipe's distillation."""
    own = distil.student_samples_objective
    return DistillationLoss(
        objective_settings(distil.objective),
        objective_settings(own) if own else None,
        distil.relations,
        distil.enable_teacher_dropout,
        distil.enable_student_dropout,
        distil.kept_tokens,
        distil.kept_mass,
        distil.bf16_teacher,
    )


def objective_settings(requested: AnyObjective) -> ObjectiveSettings:
    """An objective as a field of a stage: where the user's own code lies is not in the key, and its source is."""
    if not isinstance(requested, Custom):
        return ObjectiveSettings(requested)
    return ObjectiveSettings(requested.model_copy(update={"function": ""}), code_content(requested.function))


@dataclass(frozen=True)
class StudentStage(Stage[TrainingFacts]):
    """The student's network. How the method is called is not in the key."""

    source: ModelSource
    examples: ExamplesStage
    teacher: ModelSource
    """How the teacher reads the task; for an API teacher, how the student does."""
    teacher_network: Stage[Any] | None
    """The teacher itself, where it scores texts that do not exist before training."""
    pool: Stage[Any] | None
    logprobs: tuple[tuple[TextGenerator, LogprobsStage], ...]
    mixture: MixtureSettings
    loss: DistillationLoss
    settings: TrainingSettings
    teacher_limits: TextLimits | None = None
    """How the teacher reads the task, where it has a prompt of its own."""
    name: ClassVar[str] = "student"
    version: ClassVar[int] = 3
    on_all_ranks: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> TrainingFacts:
        """Trains the student."""
        return resumable(folder, context, lambda: self.training(folder, context))

    def training(self, folder: Path, context: WorkerContext) -> NetworkTraining:
        """The training with everything loaded; its inputs are finished. Student samples are saved in `folder`."""
        data = read_data(context.folder(self.examples))
        limits, training = self.settings.limits, self.settings.training
        tokenizers = TaskTokenizers(
            load_task_tokenizer(self.teacher, self.teacher_limits or limits, context),
            load_task_tokenizer(self.source, limits, context),
        )
        mixture = distillation_mixture(
            self.mixture,
            data,
            tokenizers,
            PseudoTargetPool.open(context.folder(self.pool)) if self.pool else None,
            targets_per_source=training.targets_per_source,
            epochs=training.epochs,
            progress=context.progress,
        )
        sampler, other = self._sampler(data, tokenizers.student, mixture, folder), tokenizers.other
        return NetworkTraining(
            title="distil the student",
            network=load_source(self.source, tokenizers.student, context),
            tokenizer=tokenizers.student,
            mixture=mixture,
            dev=data.dev,
            settings=self.settings,
            loss=self._loss(context, vocab_size=len(tokenizers.student.tokenizer)),
            teacher=TeacherSpec(
                network=self._teacher(context),
                swapped_ends=tokenizers.swapped_ends,
                logprob_caches={name: read_logprobs(stage, name, mixture, context) for name, stage in self.logprobs},
                other=other if self.loss.kept_tokens else None,
            ),
            sample_student=sampler,
            cut_for_teacher=lambda: tuple(self._cut(other, mixture, sampler)) if other else (),
        )

    def _teacher(self, context: WorkerContext) -> PreTrainedModel | None:
        if self.teacher_network is None:
            return None
        return load_stage_network(self.teacher_network, context, bf16=self.loss.bf16_teacher)

    def _cut(self, other: OtherTokenizer, mixture: Mixture, sampler: SampleStudent) -> Iterator[LeftOut]:
        """Texts for the end of which a teacher with another tokenizer has no positions, and so no distributions."""
        if other.teacher.max_positions is None:
            return iter(())
        targets = [(name, mixture.targets[name]) for name, _ in self.logprobs]
        texts = ((TrainItems.of_all(name, own), own.texts) for name, own in targets)
        sampled = sampler.generated() if isinstance(sampler, StudentSampler) and self.loss.kept_tokens else ()
        counts, totals = Counter[TextGenerator](), Counter[TextGenerator]()
        for items, own in chain(texts, sampled):  # a round of samples at a time
            if len(items):
                counts[items[0].generator] += other.cut(items, own, mixture.sources_for_teacher)
                totals[items[0].generator] += len(own)
        return (LeftOut(name, "teacher_positions", count, totals[name]) for name, count in counts.items() if count)

    def _loss(self, context: WorkerContext, *, vocab_size: int) -> LossSpec:
        loss = self.loss
        objective = loss.objective.requested
        own = loss.student_samples_objective.requested if loss.student_samples_objective else None
        return LossSpec(
            objective=bind(objective, allow_code=context.allow_code),
            vocab_size=vocab_size,
            student_samples_objective=bind(own, allow_code=context.allow_code) if own else None,
            taid_schedule=taid_schedule((objective, own)),
            relation_loss=RelationLoss(**loss.relations.model_dump()) if loss.relations else None,
            enable_teacher_dropout=loss.enable_teacher_dropout,
            enable_student_dropout=loss.enable_student_dropout,
            kept_tokens=loss.kept_tokens,
            top_p=loss.top_p or 1.0,
        )

    def _sampler(self, data: TaskData, tokenizer: TaskTokenizer, mixture: Mixture, folder: Path) -> SampleStudent:
        samples, settings = self.mixture.samples, self.settings
        if not mixture.shares["student"] and mixture.student_share is None:
            return no_student_samples  # a sampler holds the ids of all inputs, and with them the file of their sources
        return StudentSampler(
            sources=mixture.sources,
            input_ids=source_examples(data).ids,
            tokenizer=tokenizer.tokenizer,
            engine=settings.dev.engine,
            decoding=samples.decoding,
            max_tokens=settings.limits.max_target_tokens,
            seed=settings.seed,
            provenance={
                "decoding": samples.decoding.model_dump_json(),
                "engine": settings.dev.engine,
                "seed": str(settings.seed),
            },
            folder=folder / STUDENT_SAMPLES,
            max_age=samples.max_age,
        )
