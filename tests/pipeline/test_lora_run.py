"""A run whose trainings all have a LoRA adapter: what is delivered, checked and planned."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pipeline.stage_helpers import SmallTask, derive, network_folder, train

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.config.training import Lora
from understudy.errors import ConfigError, ModelError
from understudy.models import adapters
from understudy.models.adapters import adapted_layers, adapter_parameter_count
from understudy.models.checkpoint import load_network, parameter_count
from understudy.pipeline.plan_estimates import estimate_of
from understudy.pipeline.planner import planner_of
from understudy.pipeline.preflight import check
from understudy.store import Stage

LORA: dict[str, Any] = {"rank": 2, "alpha": 4}
TRAINING: dict[str, Any] = {"epochs": 2, "warmup_steps": 1, "learning_rate": 0.02, "keep_weights": "last", "lora": LORA}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> SmallTask:
    """A pretrained teacher of one layer on each side."""
    return SmallTask.write(tmp_path_factory.mktemp("lora"))


def recipe_of(task: SmallTask, **changes: Any) -> Recipe:  # noqa: ANN401 - sections of a recipe
    """Teacher, pruned student, baseline and final fine-tuning with adapters; relations are compared as well."""
    final = {**TRAINING, "keep_weights": "best"}
    whole = {
        **task.plain,
        "teacher": {**task.plain["teacher"], "finetune": TRAINING},
        "student": {"prune": {"decoder_layers": 1}, "finetune": TRAINING},
        "distil": {"method": "attention_relations_kd", "final_finetune": final},
        "training": TRAINING,
    }
    return check_recipe(merge(whole, changes))


def test_delivered_networks_are_plain(task: SmallTask, tmp_path: Path) -> None:
    """Only linear layers have changed, in every stage; the facts have the number of trained parameters."""
    stages, context = train(recipe_of(task), tmp_path)
    start = load_network(task.plain["teacher"]["model"])
    layers = {f"{name}.weight" for name in adapted_layers(start, Lora())}
    systems = stages.systems
    trained: list[Stage[Any] | None] = [systems.teacher.network, systems.student]
    before = start.state_dict()
    for stage in trained:
        assert stage is not None
        after = load_network(str(network_folder(stage, context))).state_dict()

        assert after.keys() == before.keys()
        assert {name for name in after if not torch.equal(after[name], before[name])} == layers
        assert context.facts(stage).trained_parameters == adapter_parameter_count(start, Lora(**LORA))
        before = after
    assert parameter_count(load_network(str(network_folder(systems.final.network, context)))) == parameter_count(start)


def test_another_adapter_is_another_training(task: SmallTask, tmp_path: Path) -> None:
    """Every setting of it is in the key; without one the key is that of a recipe that does not mention it."""
    changes: list[dict[str, Any]] = [{}, {"rank": 3}, {"alpha": 5}, {"dropout": 0.1}, {"target_modules": ["q_proj"]}]
    found = {derive(recipe_of(task, training={"lora": own}), tmp_path)[0].systems.student.key for own in changes}

    assert len(found) == len(changes)


def test_layers_that_a_network_lacks_are_refused_by_check(task: SmallTask, tmp_path: Path) -> None:
    """Before anything is trained, in each section; the message names the layers there are."""
    wrong = {"lora": {"target_modules": ["c_attn"]}}
    for changes in (
        {"teacher": {"finetune": wrong}},
        {"student": {"finetune": wrong}},
        {"training": wrong},
        {"distil": {"final_finetune": wrong}},
    ):
        with pytest.raises(ModelError, match=r"'c_attn'.*bart.*fc1, fc2, k_proj, out_proj"):
            check(recipe_of(task, **changes), out=tmp_path)


def test_a_missing_peft_is_found_by_check(task: SmallTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the command, before anything is trained."""
    monkeypatch.setattr(adapters, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'understudy\[peft\]'"):
        check(recipe_of(task), out=tmp_path)


def test_a_plan_has_no_optimizer_state_of_frozen_weights(task: SmallTask, tmp_path: Path) -> None:
    """Gradient and two moments in float32, 12 bytes, for each trained parameter alone."""
    start = load_network(task.plain["teacher"]["model"])
    estimates = []
    for lora in (LORA, None):
        stages, context = derive(recipe_of(task, training={"lora": lora}), tmp_path)
        planner = planner_of(stages.task, stages.scores, context)
        estimates.append(estimate_of(stages.systems.student, planner))
    saved = estimates[1].memory_bytes - estimates[0].memory_bytes

    assert saved == pytest.approx(12 * (parameter_count(start) - adapter_parameter_count(start, Lora(**LORA))))
