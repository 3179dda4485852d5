"""A run whose recipe leaves the number of targets per source to `auto`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.stage_helpers import SmallTask, derive

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.executors.local import Local
from understudy.pipeline.delivery import dependencies_first
from understudy.pipeline.preflight import warm_up
from understudy.pipeline.stages.training_steps import StepsFacts, TrainingStepsStage
from understudy.pipeline.starts import Trains, steps_stage

TRAINING: dict[str, Any] = {"epochs": 5, "warmup_steps": 1, "batch_tokens": 60, "targets_per_source": "auto"}
SAMPLES = {"method": "joint_teaching", "student_samples": {"max_age": 1}}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> SmallTask:
    """Sources of two words, targets of one; six pseudo-targets per input."""
    return SmallTask.write(tmp_path_factory.mktemp("auto"))


def recipe_of(task: SmallTask, **changes: Any) -> Recipe:  # noqa: ANN401 - sections of a recipe
    """The recipe, the student and its baseline with `auto`."""
    student = {**task.plain["student"], "finetune": TRAINING}
    return check_recipe(merge({**task.plain, "student": student, "training": TRAINING}, changes))


def counted(recipe: Recipe, out: Path) -> Iterator[tuple[TrainingStepsStage, StepsFacts]]:
    """The counted steps of each training of a run."""
    stages, context = derive(recipe, out)
    for stage in dependencies_first(stages.scores):
        if isinstance(stage, Trains) and (steps := steps_stage(stage, stages.task.limits)):
            yield steps, context.store.get(steps, Local(), context)


def test_facts_and_log_have_the_number_and_its_reason(task: SmallTask, tmp_path: Path) -> None:
    """Of a finished training, as it was counted before."""
    recipe = recipe_of(task)
    steps = {stage.training_name: facts for stage, facts in counted(recipe, tmp_path)}
    stages, context = derive(recipe, tmp_path)
    facts = context.store.get(stages.systems.student, Local(), context)

    assert facts.targets_per_source == steps["student"].targets_per_source
    assert facts.targets_per_source.startswith("targets per source: 4 (auto: sources ")
    assert steps["student"].inputs == 44
    assert steps["student"].texts == pytest.approx(44, abs=8)  # in parts of eleven inputs


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pseudo_targets": {"per_input": 1}}, "student: 1, texts per input 1"),
        ({"pseudo_targets": {"select": {"kind": "mbr", "n": 1}}}, "student: 1, texts per input 1"),
        ({"distil": SAMPLES}, "student: 1, texts per input 1"),
        ({"training": {"epochs": 1}}, "student: 1, epochs 1"),
        ({"training": {"targets_per_source": 3}}, "student: None"),
        ({}, "fine_tuned: 1, texts per input 1"),
    ],
)
def test_what_is_counted_has_the_limits_of_the_recipe(
    task: SmallTask, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    """Texts that are generated or selected, replayed student samples, epochs, gold targets; `check` shows them."""
    name, _, shown = expected.partition(": ")
    ((stage, facts),) = [own for own in counted(recipe_of(task, **changes), tmp_path) if own[0].training_name == name]
    if shown == "None":
        assert facts.targets_per_source is None
        return
    number, _, limit = shown.partition(", ")

    assert facts.targets_per_source is not None
    assert facts.targets_per_source.startswith(f"targets per source: {number} (auto: ")
    assert facts.targets_per_source.endswith(f", {limit})")
    assert facts.targets_per_source in warm_up(stage, facts).finding


def test_a_number_has_the_keys_that_it_had(task: SmallTask, tmp_path: Path) -> None:
    """Nothing of `auto` is in them."""
    for stage, _ in counted(recipe_of(task, training={"targets_per_source": 2}), tmp_path):
        if stage.training_name == "student":
            assert "texts_per_input" not in stage.fields
