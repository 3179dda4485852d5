"""One training of a run, as a stage: what it starts from, what it teaches, and what is left when it is done."""

import operator
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from understudy.config.distil import Relations
from understudy.config.objectives import TAID, AnyObjective
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.models.checkpoint import save_network
from understudy.objectives import OBJECTIVES
from understudy.pipeline.bench import Bench
from understudy.pipeline.measure import dev_scorer
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.records import Example, TextGenerator
from understudy.store import Finished
from understudy.store.disk import read_json, write_json
from understudy.training.loop import SampleStudent, no_student_samples, train
from understudy.training.mixture import Mixture
from understudy.training.relation_loss import RelationLoss
from understudy.training.schedules import TAIDSchedule
from understudy.training.step import BoundObjective, TrainSpec

TRAINING = "training.json"


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
    writer: Callable[[Mixture, Path], SampleStudent] | None = None
    judge_start: bool = False
    student_samples_objective: AnyObjective | None = None
    enable_teacher_dropout: bool = False
    enable_student_dropout: bool = True
    logprob_caches: Callable[[], Mapping[TextGenerator, TeacherLogprobs]] = dict
    kept_tokens: int | None = None
    relations: Relations | None = None


def learn(bench: Bench, course: Course, settings: Mapping[str, object], inputs: Mapping[str, Finished]) -> Finished:
    """The stage of a training; `settings` are its own, those that every training shares are added."""
    recipe = bench.recipe
    shared: dict[str, object] = {
        "seed": course.seed,
        "precision": bench.precision,
        "limits": limits(recipe),
        "dev": recipe.evaluation.model_dump(include={"dev_decoding", "dev_inputs"}),
        "metric": recipe.task.primary_metric,
        "engine": recipe.engine,
    }
    if recipe.task.primary_metric == "bertscore" and recipe.task.bertscore:
        shared["bertscore"] = recipe.task.bertscore.model_dump()

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
    goal = TrainSpec(
        measure=_measure(course.objective),
        student_samples_objective=_measure(course.student_samples_objective)
        if course.student_samples_objective
        else None,
        moving=_moving((course.objective, course.student_samples_objective)),
        enable_teacher_dropout=course.enable_teacher_dropout,
        enable_student_dropout=course.enable_student_dropout,
        kept_tokens=course.kept_tokens,
        relating=RelationLoss(**course.relations.model_dump()) if course.relations else None,
        logprob_caches=course.logprob_caches(),
        teacher=course.teacher() if course.teacher else None,
        vocabulary=len(course.reader.tokenizer),
        score_dev=score_dev,
        metric=recipe.task.primary_metric,
        higher_is_better=higher_is_better,
        judge_start=course.judge_start,
    )
    epochs = course.training.epochs
    with bench.progress.track(course.title, epochs * mixture.rounds_per_epoch, "round") as advance:
        standing = train(
            network,
            mixture,
            goal,
            settings=course.training,
            seed=course.seed,
            precision=bench.precision,
            pad=course.reader.pad,
            folder=folder,
            sample_student=course.writer(mixture, folder) if course.writer else no_student_samples,
            advance=advance,
        )
    save_network(network, course.reader.tokenizer, folder / NETWORK)
    facts: dict[str, Any] = {
        "history": standing.history,
        "best_step": standing.best_step,
        "still_improving": still_improving(
            [row[goal.metric] for row in standing.history],
            higher_is_better=higher_is_better,
            averaged=course.training.keep_weights == "average",
        ),
        "steps": standing.step,
        "seconds": standing.seconds,
        "rounds_per_epoch": mixture.rounds_per_epoch,
    }
    write_json(folder / TRAINING, facts)


def still_improving(scores: Sequence[float], *, higher_is_better: bool, averaged: bool) -> bool:
    """Whether the last of several looks at dev was the best, so that training may have ended too soon.

    The mean of weights is looked at once, at the end, and may be better than each of them: that is no progress.
    """
    scores = scores[:-1] if averaged else scores
    better = operator.gt if higher_is_better else operator.lt
    return len(scores) > 1 and all(better(scores[-1], score) for score in scores[:-1])


def _measure(asked: AnyObjective) -> BoundObjective:
    settings = {} if isinstance(asked, TAID) else asked.model_dump(exclude={"kind"})
    return BoundObjective(OBJECTIVES[asked.kind], settings)


def _moving(asked: Sequence[AnyObjective | None]) -> TAIDSchedule | None:
    """How the target of TAID moves; the first of two that ask for it decides."""
    return next((TAIDSchedule(**one.model_dump(exclude={"kind"})) for one in asked if isinstance(one, TAID)), None)


def limits(recipe: Recipe) -> dict[str, object]:
    """The settings of the task that decide what a network reads."""
    return recipe.task.model_dump(include={"prompt", "max_source_tokens", "max_target_tokens", "long_sources"})
