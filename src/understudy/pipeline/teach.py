"""The stages in which a network learns: teacher, baseline, student, and the student's last lesson on gold."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from understudy.config.networks import PretrainedStudent, PretrainedTeacher
from understudy.config.objectives import TAID, AnyObjective, CrossEntropy
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.models.checkpoint import load_network, save_network
from understudy.objectives import OBJECTIVES
from understudy.pipeline.bench import Bench
from understudy.pipeline.lessons import distillation_mixture, gold_mixture
from understudy.pipeline.measure import dev_scorer
from understudy.pipeline.networks import NETWORK, Readers, identity, starting_student, starting_teacher
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.records import Example, TaskData
from understudy.store import Finished
from understudy.store.disk import read_json, write_json
from understudy.training.loop import WriteTexts, no_writer, train
from understudy.training.mixture import Mixture
from understudy.training.schedules import Moving
from understudy.training.step import Goal, Measure
from understudy.training.student_text import StudentWriter

TRAINING = "training.json"
STUDENT_TEXT = "student_text"


@dataclass(frozen=True)
class Course:
    """One training of the run, in the pipeline's words."""

    name: str
    title: str
    training: Training
    objective: AnyObjective
    reader: Reader
    dev: Sequence[Example]
    seed: int
    start: Callable[[], PreTrainedModel]
    mixture: Callable[[], Mixture]
    teacher: Callable[[], PreTrainedModel] | None = None
    writer: Callable[[Mixture, Path], WriteTexts] | None = None
    judge_start: bool = False
    on_student_text: AnyObjective | None = None
    noisy_teacher: bool = False


def make_teacher(bench: Bench, data: TaskData, readers: Readers, inputs: Mapping[str, Finished]) -> Finished:
    """The stage of the teacher: fine-tuned on the labels it may see, or taken as it is."""
    teacher, finetune = bench.recipe.teacher, bench.recipe.teacher.finetune
    settings: dict[str, object] = {"teacher": teacher.model_dump(), "seed": bench.recipe.seed}
    if isinstance(teacher, PretrainedTeacher):
        settings["identity"] = identity(teacher.model)
    if finetune is None:
        return bench.store.stage("teacher", settings=settings, inputs=inputs, work=_as_it_is(bench, readers.teacher))
    examples = (*data.labeled, *(data.withheld if teacher.labels == "all" else ()))
    course = Course(
        name="teacher",
        title="teacher learns gold",
        training=finetune,
        objective=CrossEntropy(),
        reader=readers.teacher,
        dev=data.dev,
        seed=bench.recipe.seed,
        start=lambda: starting_teacher(bench, readers.teacher),
        mixture=lambda: gold_mixture(examples, readers.teacher, targets_per_source=finetune.targets_per_source),
        judge_start=isinstance(teacher, PretrainedTeacher),
    )
    return _learn(bench, course, settings, inputs)


def make_baseline(
    bench: Bench, data: TaskData, readers: Readers, teacher: Finished, inputs: Mapping[str, Finished]
) -> Finished:
    """The stage of the fine-tuned student: the same student on gold alone."""
    finetune = bench.recipe.student.finetune
    course = Course(
        name="fine_tuned",
        title="student learns gold (baseline)",
        training=finetune,
        objective=CrossEntropy(),
        reader=readers.student,
        dev=data.dev,
        seed=bench.recipe.seed_of_students,
        start=lambda: starting_student(bench, readers.student, teacher),
        mixture=lambda: gold_mixture(data.labeled, readers.student, targets_per_source=finetune.targets_per_source),
    )
    needed = inputs if not _is_pruned(bench.recipe) else {**inputs, "teacher": teacher}
    return _learn(bench, course, _student_settings(bench.recipe) | {"training": finetune.model_dump()}, needed)


def make_student(
    bench: Bench,
    data: TaskData,
    readers: Readers,
    inputs: Mapping[str, Finished],
    *,
    origin: Finished,
) -> Finished:
    """The stage of the distilled student.

    `inputs` holds the teacher and, where the method needs it, the pool; a pruned student is cut from `origin`, which
    is the teacher but for students of a student.
    """
    recipe, teacher = bench.recipe, inputs["teacher"]
    if _is_pruned(recipe) and origin.key != teacher.key:
        inputs = {**inputs, "origin": origin}

    def mixture() -> Mixture:
        pool = PseudoTargetPool.open(inputs["pool"].folder) if "pool" in inputs else None
        return distillation_mixture(
            data,
            readers,
            pool,
            distil=recipe.distil,
            inputs=recipe.pseudo_targets.inputs,
            training=recipe.training,
        )

    course = Course(
        name=recipe.distil.method,
        title=f"student learns by {recipe.distil.method}",
        training=recipe.training,
        objective=recipe.distil.objective,
        reader=readers.student,
        dev=data.dev,
        seed=recipe.seed_of_students,
        start=lambda: starting_student(bench, readers.student, origin),
        mixture=mixture,
        teacher=(lambda: load_network(str(teacher.folder / NETWORK))) if recipe.distil.needs_teacher_logits else None,
        writer=lambda made, folder: _writer(bench, data, readers.student, made, folder),
        on_student_text=recipe.distil.on_student_text,
        noisy_teacher=recipe.distil.noisy_teacher,
    )
    settings = _student_settings(recipe) | {
        "training": recipe.training.model_dump(),
        "distil": recipe.distil.model_dump(exclude={"method", "final_finetune", "generations"}),
        "inputs": recipe.pseudo_targets.inputs,
    }
    return _learn(bench, course, settings, inputs)


def make_last_lesson(
    bench: Bench, data: TaskData, readers: Readers, distilled: Finished, training: Training
) -> Finished:
    """The stage of the last lesson on gold: it keeps what it was given unless dev improves."""
    course = Course(
        name=f"{bench.recipe.distil.method}_gold",
        title="student's last lesson on gold",
        training=training,
        objective=CrossEntropy(),
        reader=readers.student,
        dev=data.dev,
        seed=bench.recipe.seed_of_students,
        start=lambda: load_network(str(distilled.folder / NETWORK)),
        mixture=lambda: gold_mixture(data.labeled, readers.student, targets_per_source=training.targets_per_source),
        judge_start=True,
    )
    return _learn(bench, course, {"training": training.model_dump()}, {"student": distilled})


def _learn(bench: Bench, course: Course, settings: Mapping[str, object], inputs: Mapping[str, Finished]) -> Finished:
    recipe = bench.recipe
    shared = {
        "seed": course.seed,
        "precision": bench.precision,
        "limits": limits(recipe),
        "dev": recipe.evaluation.model_dump(include={"dev_decoding", "dev_inputs"}),
        "metric": recipe.task.primary_metric,
        "engine": recipe.engine,
    }

    def work(folder: Path) -> Mapping[str, object]:
        if not (folder / TRAINING).exists():
            _train(bench, course, folder)
        for remains in (*folder.glob("checkpoint-*"), *folder.glob("best-*")):
            shutil.rmtree(remains)
        return read_json(folder / TRAINING)

    return bench.store.stage(course.name, settings={**settings, **shared}, inputs=inputs, work=work)


def _train(bench: Bench, course: Course, folder: Path) -> None:
    recipe = bench.recipe
    network, mixture = course.start(), course.mixture()
    score_dev, higher_is_better = dev_scorer(bench, course.reader, course.dev)
    goal = Goal(
        measure=_measure(course.objective),
        on_student_text=_measure(course.on_student_text) if course.on_student_text else None,
        moving=_moving((course.objective, course.on_student_text)),
        noisy_teacher=course.noisy_teacher,
        teacher=course.teacher() if course.teacher else None,
        vocabulary=len(course.reader.tokenizer),
        score_dev=score_dev,
        metric=recipe.task.primary_metric,
        higher_is_better=higher_is_better,
        judge_start=course.judge_start,
    )
    epochs = course.training.epochs
    with bench.progress.work(course.title, epochs * mixture.rounds_per_epoch, "round") as advance:
        standing = train(
            network,
            mixture,
            goal,
            settings=course.training,
            seed=course.seed,
            precision=bench.precision,
            pad=course.reader.pad,
            folder=folder,
            write_texts=course.writer(mixture, folder) if course.writer else no_writer,
            advance=advance,
        )
    save_network(network, course.reader.tokenizer, folder / NETWORK)
    facts: dict[str, Any] = {
        "history": standing.history,
        "best_step": standing.best_step,
        "steps": standing.step,
        "rounds_per_epoch": mixture.rounds_per_epoch,
    }
    write_json(folder / TRAINING, facts)


def _measure(asked: AnyObjective) -> Measure:
    settings = {} if isinstance(asked, TAID) else asked.model_dump(exclude={"kind"})
    return Measure(OBJECTIVES[asked.kind], settings)


def _moving(asked: Sequence[AnyObjective | None]) -> Moving | None:
    """How the target of TAID moves; the first of two that ask for it decides."""
    return next((Moving(**one.model_dump(exclude={"kind"})) for one in asked if isinstance(one, TAID)), None)


def _writer(bench: Bench, data: TaskData, reader: Reader, mixture: Mixture, folder: Path) -> WriteTexts:
    recipe = bench.recipe
    decoding, seed = recipe.distil.student_text.decoding, recipe.seed_of_students
    return StudentWriter(
        sources=mixture.sources,
        input_ids=[example.id for example in (*data.labeled, *data.unlabeled)],
        tokenizer=reader.tokenizer,
        engine=recipe.engine,
        decoding=decoding,
        max_tokens=recipe.task.max_target_tokens,
        seed=seed,
        provenance={
            "decoding": decoding.model_dump_json(),
            "engine": recipe.engine,
            "seed": str(seed),
        },
        folder=folder / STUDENT_TEXT,
        max_age=recipe.distil.student_text.max_age,
    )


def _as_it_is(bench: Bench, reader: Reader) -> Callable[[Path], Mapping[str, object]]:
    def work(folder: Path) -> Mapping[str, object]:
        save_network(starting_teacher(bench, reader), reader.tokenizer, folder / NETWORK)
        return {}

    return work


def _student_settings(recipe: Recipe) -> dict[str, object]:
    settings: dict[str, object] = {"student": recipe.student.model_dump(exclude={"finetune"})}
    if isinstance(recipe.student, PretrainedStudent):
        settings["identity"] = identity(recipe.student.model)
    return settings


def _is_pruned(recipe: Recipe) -> bool:
    return hasattr(recipe.student, "prune")


def limits(recipe: Recipe) -> dict[str, object]:
    """The settings of the task that decide what a network reads."""
    return recipe.task.model_dump(include={"prompt", "max_source_tokens", "max_target_tokens", "long_sources"})
