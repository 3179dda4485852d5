"""A student pruned by loss, from the recipe to its network."""

from pathlib import Path
from typing import Any

import torch
from tests.pipeline.stage_helpers import network_folder, train

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.models.checkpoint import load_network
from understudy.pipeline.model_sources import FromPruned, load_source, load_task_tokenizer
from understudy.pipeline.stages.student import StudentStage

CAUSAL = {"architecture": "llama", "width": 16, "encoder_layers": 0, "decoder_layers": 4, "heads": 2,
          "feed_forward": 16}  # fmt: skip


def recipe_of(tiny: dict[str, Any], prune: dict[str, Any], scratch: dict[str, Any] = CAUSAL) -> Recipe:
    """The tiny recipe with a teacher of these sizes and a student pruned from it."""
    plain = {
        **tiny,
        "teacher": {**tiny["teacher"], "scratch": scratch},
        "student": {"prune": prune, "finetune": tiny["student"]["finetune"]},
    }
    return check_recipe(merge(plain, {"distil": {"final_finetune": None}}))


def test_the_student_keeps_the_layers_that_the_loss_misses_most(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Before training, its weights are those of the kept layers of the teacher."""
    stages, context = train(recipe_of(tiny, {"decoder_layers": 2, "layers": "by_loss"}), tmp_path)
    student = stages.systems.student
    assert isinstance(student, StudentStage)
    source = student.source
    assert isinstance(source, FromPruned)
    assert source.order is not None
    order = context.facts(source.order).order
    weights = load_source(source, load_task_tokenizer(source, stages.task.limits, context), context).state_dict()
    teacher = load_network(str(network_folder(stages.systems.teacher.network, context))).state_dict()
    trained = load_network(str(network_folder(stages.systems.final.network, context)))

    assert [one.part for one in order.removed] == ["decoder", "decoder"]
    assert sorted([*order.kept["decoder"], *(one.layer for one in order.removed)]) == [0, 1, 2, 3]
    for new, old in enumerate(order.kept["decoder"]):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(weights[name.format(new)], teacher[name.format(old)])
    assert trained.config.num_hidden_layers == 2
