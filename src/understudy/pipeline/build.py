"""The stages of a run in their order, from a recipe to an evaluated student, as one expression."""

from dataclasses import dataclass, replace
from typing import Any

from understudy.config.distil import Distil
from understudy.config.model_sections import PretrainedStudent, PrunedStudent, ScratchStudent
from understudy.config.recipe import Recipe
from understudy.pipeline.context import RunContext, default_device
from understudy.pipeline.local_teacher import LocalTeacher, local_system
from understudy.pipeline.metric_settings import references_by_teacher
from understudy.pipeline.model_sources import FromCheckpoint, FromPruned, FromScratch, FromStage, ModelSource
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.stages.benchmark import BenchmarkStage, this_machine
from understudy.pipeline.stages.confidences import ConfidencesStage
from understudy.pipeline.stages.deferral import DeferralStage
from understudy.pipeline.stages.examples import labels_content
from understudy.pipeline.stages.feed_forward import FeedForwardStage
from understudy.pipeline.stages.fine_tuned import FinalFinetuneStage, FineTunedStage
from understudy.pipeline.stages.layer_order import ORDER_EXAMPLES, LayerOrderStage
from understudy.pipeline.stages.prune_preview import PrunePreviewStage
from understudy.pipeline.stages.scores import ScoresStage
from understudy.pipeline.stages.student import StudentStage, distillation_loss
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage
from understudy.pipeline.systems import TrainedSystems
from understudy.pipeline.teacher_outputs import TeacherOutputs, open_teacher
from understudy.pipeline.training_data import MixtureSettings
from understudy.records import TextGenerator
from understudy.report.facts import FINE_TUNED
from understudy.store import Stage


@dataclass(frozen=True)
class RunStages:
    """All stages of a run, as expressions: `scores` needs all but the last two."""

    task: PreparedTask
    systems: TrainedSystems
    scores: ScoresStage
    deferral: DeferralStage
    """Of the distilled student's requests to the teacher."""
    preview: PrunePreviewStage | None
    """The size and latency of a pruned student, known before it is trained."""


def build_run(recipe: Recipe, context: RunContext) -> RunStages:
    """The stages of a run. What their keys depend on is made now, which takes seconds, or requests of an API teacher.

    Raises:
        UnderstudyError: if the data, the checkpoints or an API teacher's responses cannot be used.
    """
    teacher = open_teacher(recipe, context)
    return run_stages(teacher.task, teacher)


def run_stages(task: PreparedTask, teacher: TeacherOutputs) -> RunStages:
    """The stages of a run, derived from what was prepared; makes nothing."""
    systems = train_systems(task, teacher)
    recipe = task.recipe
    benchmark = BenchmarkStage(
        tuple((system.name, system.converted) for system in systems.local if system.converted),
        task.scored(),
        task.benchmark(),
        task.limits,
        this_machine(),
        teacher.own_limits,
    )
    scores = ScoresStage(
        systems=systems.scored,
        distilled=systems.final.name,
        trainings=tuple((system.name, system.network) for system in systems.local if system.network),
        scoring=task.scoring(),
        data=task.data,
        examples=task.teacher_examples,
        benchmark=benchmark,
        student=systems.student,
        pool=teacher.targets(),
        pool_tokens=teacher.pool_tokens,
        api=teacher.report(teacher_logprobs(task, teacher).get("teacher")),
        averaged=recipe.training.keep_weights == "average",
        allows_leaks=recipe.task.leaks == "allow",
        references_by_teacher="test" in references_by_teacher(recipe.task),
        prompt=recipe.task.prompt.replace("{source}", " ").strip(),
        layer_order=layer_order_stage(task, teacher),
        vocabularies=task.vocabularies,
    )
    return RunStages(task, systems, scores, deferral_stage(task, systems), _preview(task, teacher))


def deferral_stage(task: PreparedTask, systems: TrainedSystems) -> DeferralStage:
    """The stage of the distilled student's calibrated confidence; a stage of its own, so that scores keep their key."""
    teacher, student = (replace(system, network=None, converted=None) for system in (systems.teacher, systems.final))
    return DeferralStage(teacher, student, ConfidencesStage(systems.final), task.scoring(), task.data)


def train_systems(task: PreparedTask, teacher: TeacherOutputs) -> TrainedSystems:
    """Teacher, baseline and students. Each generation but the last is the teacher of the next."""
    recipe, distil = task.recipe, task.recipe.distil
    start = student_source(task, teacher)
    baseline = None
    if task.has_labels:
        settings = task.training(recipe.student.finetune, seed=recipe.seed_of_students)
        baseline = local_system(task, FINE_TUNED, FineTunedStage(start, task.labels(), settings))
    if distil.initial_weights == "fine_tuned":
        assert baseline is not None  # noqa: S101 - the recipe refuses it without labels
        assert baseline.network is not None  # noqa: S101 - a baseline is local
        start = FromStage(baseline.network)
    earlier: list[Stage[Any]] = []
    teaches = teacher
    for _ in range(1, distil.generations):
        earlier.append(student_stage(task, teaches, start))
        teaches = LocalTeacher(task, earlier[-1], task.examples, task.facts)
    student = student_stage(task, teaches, start)
    final: Stage[Any] = student
    if distil.final_finetune:
        settings = task.training(distil.final_finetune, seed=recipe.seed_of_students)
        final = FinalFinetuneStage(student, task.labels(), settings)
    return TrainedSystems(
        teacher=teacher.system(),
        baseline=baseline,
        generations=tuple(earlier),
        student=student,
        final=local_system(task, distil.method, final),
    )


def student_stage(task: PreparedTask, teacher: TeacherOutputs, start: ModelSource) -> StudentStage:
    """The student of one generation."""
    recipe, distil = task.recipe, task.recipe.distil
    return StudentStage(
        source=start,
        examples=task.examples,
        teacher=teacher.source,
        teacher_network=teacher.network if _scores_while_training(distil) else None,
        pool=teacher.targets(),
        logprobs=tuple(teacher_logprobs(task, teacher).items()),
        mixture=MixtureSettings(
            distil.targets, recipe.pseudo_targets.inputs, distil.student_samples, teacher.leaves_inputs_out
        ),
        loss=distillation_loss(distil),
        settings=task.training(recipe.training, seed=recipe.seed_of_students),
        teacher_limits=teacher.own_limits,
    )


def teacher_logprobs(task: PreparedTask, teacher: TeacherOutputs) -> dict[TextGenerator, LogprobsStage]:
    """The caches of log-probabilities of texts that exist before training; none where the method keeps none."""
    distil = task.recipe.distil
    if distil.kept_tokens is None:
        return {}
    wanted: dict[TextGenerator, bool] = {"gold": distil.targets.gold > 0, "teacher": teacher.targets() is not None}
    return {
        name: teacher.logprobs(name, distil.kept_tokens, distil.kept_mass) for name, wants in wanted.items() if wants
    }


def student_source(task: PreparedTask, teacher: TeacherOutputs) -> ModelSource:
    """The student before training."""
    match task.recipe.student:
        case PretrainedStudent():
            return FromCheckpoint(task.student_checkpoint, task.student.format, task.trimmed_student)
        case ScratchStudent(scratch=scratch):
            return FromScratch(scratch, task.student.tokens, task.recipe.seed_of_students)
        case PrunedStudent(prune=prune):
            assert teacher.network is not None  # noqa: S101 - the recipe refuses to prune an API teacher
            order = layer_order_stage(task, teacher)
            pruned = FromPruned(teacher.network, prune, task.trimmed_student, order)
            return replace(pruned, neurons=feed_forward_stage(task, pruned))


def layer_order_stage(task: PreparedTask, teacher: TeacherOutputs) -> LayerOrderStage | None:
    """The stage that chooses the layers of a pruned student by the teacher's loss; None where nothing is chosen so."""
    student = task.recipe.student
    if not isinstance(student, PrunedStudent) or student.prune.layers != "by_loss" or teacher.network is None:
        return None
    encoder, decoder = student.prune.encoder_layers, student.prune.decoder_layers
    assert not isinstance(encoder, tuple)  # noqa: S101 - the section refuses lists
    assert not isinstance(decoder, tuple)  # noqa: S101
    return LayerOrderStage(
        teacher.network,
        encoder,
        decoder,
        labels_content(task.examples, task.facts, "labeled"),
        ORDER_EXAMPLES,
        task.limits,
        task.recipe.seed,
        default_device(),
    )


def feed_forward_stage(task: PreparedTask, pruned: FromPruned) -> FeedForwardStage | None:
    """The stage that chooses the neurons of a pruned student; None where it keeps all."""
    if pruned.prune.feed_forward is None:
        return None
    labels = labels_content(task.examples, task.facts, "labeled")
    return FeedForwardStage(
        pruned, pruned.prune.feed_forward, labels, ORDER_EXAMPLES, task.limits, task.recipe.seed, default_device()
    )


def _scores_while_training(distil: Distil) -> bool:
    """Whether the teacher scores texts during training that did not exist before it."""
    return distil.needs_teacher_logits and (distil.kept_tokens is None or distil.targets.student > 0)


def _preview(task: PreparedTask, teacher: TeacherOutputs) -> PrunePreviewStage | None:
    student = task.recipe.student
    if not isinstance(student, PrunedStudent) or teacher.network is None:
        return None
    return PrunePreviewStage(
        teacher.network, student.prune, task.scored(), task.limits, this_machine(), task.trimmed_student
    )
