"""A run: the stages in their order, from a recipe to a proven student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config.distil import Distil
from understudy.config.model_sections import PretrainedStudent, PrunedStudent, ScratchStudent
from understudy.config.objectives import Custom
from understudy.config.recipe import Recipe
from understudy.custom_code import source_digest
from understudy.executors.local import Local
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.delivery import deliver
from understudy.pipeline.metric_settings import references_by_teacher
from understudy.pipeline.model_sources import FromCheckpoint, FromPruned, FromScratch, ModelSource, checkpoint_content
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.stages.benchmark import BenchmarkStage, this_machine
from understudy.pipeline.stages.fine_tuned import FinalFinetuneStage, FineTunedStage
from understudy.pipeline.stages.prune_preview import PrunePreviewStage
from understudy.pipeline.stages.scores import ScoresStage
from understudy.pipeline.stages.student import DistillationLoss, StudentStage
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage
from understudy.pipeline.systems import TrainedSystems
from understudy.pipeline.teacher_outputs import (
    LocalTeacher,
    TeacherOutputs,
    endpoint_of,
    local_system,
    open_teacher,
)
from understudy.pipeline.training_data import MixtureSettings
from understudy.progress import NoProgress, Progress
from understudy.records import TextGenerator
from understudy.report.facts import FINE_TUNED, Facts
from understudy.store import Stage
from understudy.store.store import Executor, Outcome, failure_of

LOCAL = Local()
QUIET = NoProgress()


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    facts: Facts
    stages: Mapping[str, Path]
    """Label -> the folder of the stage, in the order in which the stages are needed."""


@dataclass(frozen=True)
class RunStages:
    """All stages of a run, as one expression: `scores` needs the others."""

    task: PreparedTask
    systems: TrainedSystems
    scores: ScoresStage
    preview: PrunePreviewStage | None
    """The size and latency of a pruned student, known before it is trained."""


def run(
    recipe: Recipe,
    *,
    out: str | Path = "runs",
    progress: Progress = QUIET,
    executor: Executor = LOCAL,
    allow_code: bool = False,
) -> Run:
    """Runs a recipe; stages that any run in `out` has finished are reused.

    Args:
        recipe: what to do.
        out: the folder of the runs and, in `store`, of their stages.
        progress: is informed about long work.
        executor: where stages run.
        allow_code: whether code that the recipe names (`module:object`) may be imported.

    Returns:
        The run's folder with `report.html`, `report.json`, the recipe, and a link to each stage.

    Raises:
        UnderstudyError: whatever the user can fix, in one sentence. Finished stages are kept.
    """
    context = run_context(Path(out), progress, allow_code=allow_code, endpoint=endpoint_of(recipe))
    stages = build_run(recipe, context)
    outcomes: dict[str, Outcome] = {}
    if stages.preview and not context.store.finished(stages.scores):
        # In a call of its own: a measurement waits until nothing else is under way, and the student would be trained.
        outcomes |= _make([stages.preview], executor, context)
    delivered = [stage for stage in (stages.scores, stages.systems.final.network) if stage]
    outcomes |= _make(delivered, executor, context)
    folder, facts, folders = deliver(recipe, Path(out), stages, context, outcomes)
    return Run(folder, facts, folders)


def _make(wanted: Sequence[Stage[Any]], executor: Executor, context: RunContext) -> dict[str, Outcome]:
    """What became of the wanted stages and of those that had to be made for them; a failure is raised."""
    outcomes = context.store.get_all(wanted, executor, context)
    for stage in wanted:
        raise_failure(stage, outcomes, context)
    return outcomes


def raise_failure(stage: Stage[Any], outcomes: Mapping[str, Outcome], context: RunContext) -> None:
    """Raises what kept a stage from being made, if anything did."""
    if failure := failure_of(stage, outcomes, context):
        raise failure


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
    )
    return RunStages(task, systems, scores, _preview(task, teacher))


def train_systems(task: PreparedTask, teacher: TeacherOutputs) -> TrainedSystems:
    """Teacher, baseline and students. Each generation but the last is the teacher of the next."""
    recipe, distil = task.recipe, task.recipe.distil
    start = student_source(task, teacher)
    baseline = None
    if task.has_labels:
        settings = task.training(recipe.student.finetune, seed=recipe.seed_of_students)
        baseline = local_system(task, FINE_TUNED, FineTunedStage(start, task.labels(), settings))
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
        loss=DistillationLoss(
            distil.objective,
            distil.student_samples_objective,
            distil.relations,
            distil.enable_teacher_dropout,
            distil.enable_student_dropout,
            distil.kept_tokens,
            tuple(source_digest(one.function) for one in distil.objectives if isinstance(one, Custom)),
        ),
        settings=task.training(recipe.training, seed=recipe.seed_of_students),
    )


def teacher_logprobs(task: PreparedTask, teacher: TeacherOutputs) -> dict[TextGenerator, LogprobsStage]:
    """The caches of log-probabilities of texts that exist before training; none where the method keeps none."""
    distil = task.recipe.distil
    if distil.kept_tokens is None:
        return {}
    wanted: dict[TextGenerator, bool] = {"gold": distil.targets.gold > 0, "teacher": teacher.targets() is not None}
    return {name: teacher.logprobs(name, distil.kept_tokens) for name, wants in wanted.items() if wants}


def student_source(task: PreparedTask, teacher: TeacherOutputs) -> ModelSource:
    """The student before training."""
    match task.recipe.student:
        case PretrainedStudent(model=name):
            return FromCheckpoint(checkpoint_content(name))
        case ScratchStudent(scratch=scratch):
            return FromScratch(scratch, task.tokens, task.recipe.seed_of_students)
        case PrunedStudent(prune=prune):
            assert teacher.network is not None  # noqa: S101 - the recipe refuses to prune an API teacher
            return FromPruned(teacher.network, prune)


def _scores_while_training(distil: Distil) -> bool:
    """Whether the teacher scores texts during training that did not exist before it."""
    return distil.needs_teacher_logits and (distil.kept_tokens is None or distil.targets.student > 0)


def _preview(task: PreparedTask, teacher: TeacherOutputs) -> PrunePreviewStage | None:
    student = task.recipe.student
    if not isinstance(student, PrunedStudent) or teacher.network is None:
        return None
    return PrunePreviewStage(teacher.network, student.prune, task.scored(), task.limits, this_machine())
