"""What the networks of a run are before anything is trained, and which stages of a run train."""

from dataclasses import dataclass, replace
from typing import Any

from understudy.config.model_sections import Prune
from understudy.config.pool_selection import Distinct
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.delivery import dependencies_first
from understudy.pipeline.model_sources import (
    FromCheckpoint,
    FromPruned,
    FromScratch,
    FromStage,
    ModelSource,
    tokenizer_source,
)
from understudy.pipeline.stages.api_pool import ApiPoolStage
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.fine_tuned import FinalFinetuneStage, FineTunedStage
from understudy.pipeline.stages.pool_selection import PoolSelectionStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.teacher import TeacherStage
from understudy.pipeline.stages.training_steps import TrainingStepsStage
from understudy.store import Content, Stage

Trains = TeacherStage | FineTunedStage | FinalFinetuneStage | StudentStage


@dataclass(frozen=True)
class Start:
    """A network before training."""

    source: FromScratch | FromCheckpoint
    prune: Prune | None = None
    limits: TextLimits | None = None
    """How a teacher reads the task, which may be by a prompt of its own."""


def start_of(source: ModelSource) -> Start:
    """What a source is before the stages that it comes from have trained anything."""
    match source:
        case FromScratch() | FromCheckpoint():
            return Start(source)
        case FromStage(network=stage):
            return start_of_stage(stage)
        case FromPruned(network=stage, prune=prune, vocabulary=vocabulary):
            start = start_of_stage(stage).source
            if vocabulary and isinstance(start, FromCheckpoint):
                start = replace(start, vocabulary=vocabulary)
            return Start(start, prune)


def start_of_stage(stage: Stage[Any]) -> Start:
    """What the network of a stage is before it is trained."""
    match stage:
        case TeacherStage(source=source) | FineTunedStage(source=source) | StudentStage(source=source):
            return start_of(source)
        case FinalFinetuneStage(student=student):
            return start_of_stage(student)
    raise AssertionError(stage)


def network_roles(scores: Stage[Any]) -> dict[str, Start]:
    """`teacher` (a local one) and `student` -> the network before training, of all that a run makes."""
    found: dict[str, Start] = {}
    for stage in dependencies_first(scores):
        if isinstance(stage, TeacherStage):
            found["teacher"] = replace(start_of_stage(stage), limits=stage.limits)
        elif isinstance(stage, StudentStage):
            found["student"] = start_of_stage(stage)
    return found


def steps_stage(stage: Trains, limits: TextLimits) -> TrainingStepsStage | None:
    """The stage that counts the steps of a training; None for a network that is used as it is."""
    if stage.settings is None:
        return None
    examples: Content | ExamplesStage | None
    splits: tuple[str, ...] = ("labeled",)
    mixture = None
    match stage:
        case StudentStage():
            examples, splits, mixture = stage.examples, ("labeled", "unlabeled"), stage.mixture
        case TeacherStage():
            examples, splits = stage.labels, ("labeled", "withheld") if stage.with_withheld else splits
            limits = stage.limits
        case _:
            examples = stage.labels
    if examples is None:
        return None
    return TrainingStepsStage(
        stage.name,
        tokenizer_source(start_of_stage(stage).source),
        examples,
        splits,
        limits,
        stage.settings.training,
        mixture,
        _texts_per_input(stage) if stage.settings.training.targets_per_source == "auto" else None,
    )


def _texts_per_input(stage: Trains) -> int | None:
    """The texts of an input that the teacher generates, or that a selection keeps; None where there are none."""
    match stage.pool if isinstance(stage, StudentStage) else None:
        case PoolSelectionStage(pool=pool, select=Distinct()):
            return pool.per_input
        case PoolSelectionStage(select=select):
            return getattr(select, "n", 1)
        case PseudoTargetsStage(per_input=per_input):
            return per_input
        case ApiPoolStage(responses=responses):
            return responses.requests.per_input
    return None
