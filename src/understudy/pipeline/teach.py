"""The stages in which a network learns: teacher, baseline, student, and the student's last lesson on gold."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from understudy.config.distil import Distil
from understudy.config.model_sections import EndpointTeacher, PretrainedTeacher
from understudy.config.objectives import CrossEntropy
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.models.checkpoint import load_network, save_network
from understudy.pipeline.bench import Bench
from understudy.pipeline.course import Course, learn, limits
from understudy.pipeline.lessons import distillation_mixture, gold_mixture
from understudy.pipeline.networks import (
    NETWORK,
    Readers,
    identity,
    starting_student,
    starting_teacher,
    student_settings,
)
from understudy.pipeline.readers import Reader
from understudy.pipeline.signals import make_signals, read_signals
from understudy.records import Example, TaskData
from understudy.store import Finished
from understudy.store.stages import content_key
from understudy.training.mixture import Mixture
from understudy.training.rounds import SampleStudent
from understudy.training.student_sampling import StudentSampler

STUDENT_SAMPLES = "student_samples"


def make_teacher(bench: Bench, data: TaskData, readers: Readers, tokenizer: Finished | None) -> Finished:
    """The stage of the teacher: fine-tuned on the labels it may see, or taken as it is.

    What the task has beside gold is nothing to it, so that a task with more unlabelled inputs has the same teacher;
    but one from scratch has a tokenizer that was made of them too.
    """
    teacher = bench.recipe.teacher
    assert not isinstance(teacher, EndpointTeacher)  # noqa: S101 - what an endpoint writes is bought
    finetune = teacher.finetune
    inputs = {"tokenizer": tokenizer} if tokenizer else {}
    settings: dict[str, object] = {"teacher": teacher.model_dump(), "seed": bench.recipe.seed}
    if isinstance(teacher, PretrainedTeacher):
        settings["identity"] = identity(teacher.model)
    if finetune is None:
        return bench.store.stage("teacher", settings=settings, inputs=inputs, work=_as_it_is(bench, readers.teacher))
    examples = (*data.labeled, *(data.withheld if teacher.labels == "all" else ()))
    settings["gold"] = _gold_key(examples, data.dev)
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
        evaluate_start=isinstance(teacher, PretrainedTeacher),
    )
    return learn(bench, course, settings, inputs)


def make_baseline(
    bench: Bench, data: TaskData, readers: Readers, teacher: Finished, tokenizer: Finished | None
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
    inputs = {"tokenizer": tokenizer} if tokenizer else {}
    if _is_pruned(bench.recipe):
        inputs["teacher"] = teacher
    own = {"training": finetune.model_dump(), "gold": _gold_key(data.labeled, data.dev)}
    return learn(bench, course, student_settings(bench.recipe) | own, inputs)


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
    distil = recipe.distil
    mixture = cache(partial(distillation_mixture, recipe, data, readers, inputs.get("pool")))
    logprob_caches = make_signals(bench, readers, mixture, inputs, {"limits": limits(recipe)})
    course = Course(
        name=distil.method,
        title=f"student learns by {distil.method}",
        training=recipe.training,
        objective=distil.objective,
        reader=readers.student,
        dev=data.dev,
        seed=recipe.seed_of_students,
        start=lambda: starting_student(bench, readers.student, origin),
        mixture=mixture,
        teacher=partial(load_network, str(teacher.folder / NETWORK)) if _teacher_listens(distil) else None,
        logprob_caches=lambda: read_signals(logprob_caches, mixture(), teacher),
        kept_tokens=distil.kept_tokens,
        writer=lambda made, folder: _writer(bench, data, readers.student, made, folder),
        student_samples_objective=distil.student_samples_objective,
        enable_teacher_dropout=distil.enable_teacher_dropout,
        enable_student_dropout=distil.enable_student_dropout,
        relations=distil.relations,
    )
    settings = student_settings(recipe) | {
        "training": recipe.training.model_dump(),
        "distil": distil.model_dump(exclude={"method", "final_finetune", "generations", "enable_student_dropout"}),
        "inputs": recipe.pseudo_targets.inputs,
        "left": bench.left,
    }
    if not distil.enable_student_dropout:  # only then, so that students made before this could be asked are found again
        settings["enable_student_dropout"] = False
    asked = {f"signal_{name}": own for name, own in logprob_caches.items()}
    cut_from = {"origin": origin} if _is_pruned(recipe) and origin.key != teacher.key else {}
    return learn(bench, course, settings, {**inputs, **asked, **cut_from})


def _teacher_listens(distil: Distil) -> bool:
    """Whether the teacher is there while the student learns: to what it has not been asked about before."""
    return distil.needs_teacher_logits and (distil.kept_tokens is None or distil.targets.student > 0)


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
        evaluate_start=True,
    )
    return learn(bench, course, {"training": training.model_dump()}, {"student": distilled})


def _writer(bench: Bench, data: TaskData, reader: Reader, mixture: Mixture, folder: Path) -> SampleStudent:
    recipe = bench.recipe
    decoding, seed = recipe.distil.student_samples.decoding, recipe.seed_of_students
    return StudentSampler(
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
        folder=folder / STUDENT_SAMPLES,
        max_age=recipe.distil.student_samples.max_age,
    )


def _as_it_is(bench: Bench, reader: Reader) -> Callable[[Path], Mapping[str, object]]:
    def work(folder: Path) -> Mapping[str, object]:
        save_network(starting_teacher(bench, reader), reader.tokenizer, folder / NETWORK)
        return {}

    return work


def _gold_key(examples: Iterable[Example], dev: Iterable[Example]) -> str:
    """A key of the labels that a network learns and is chosen by."""
    return content_key([[(example.source, example.targets) for example in split] for split in (examples, dev)])


def _is_pruned(recipe: Recipe) -> bool:
    return hasattr(recipe.student, "prune")
