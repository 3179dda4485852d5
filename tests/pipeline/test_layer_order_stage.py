"""A student pruned by loss, from the recipe to its network before training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pipeline.stage_helpers import SOURCES, SmallTask
from tests.sizes import small
from torch.nn.functional import cross_entropy

from understudy.config.model_sections import Scratch
from understudy.config.read import check_recipe
from understudy.errors import ModelError
from understudy.models.checkpoint import load_network, save_network
from understudy.models.forward import padded, target_logits
from understudy.models.prune import prune
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.calibration import NO_SPEED
from understudy.pipeline.delivery import labeled_stages
from understudy.pipeline.model_sources import FromPruned, load_source, load_task_tokenizer
from understudy.pipeline.network_size import network_size
from understudy.pipeline.plan_estimates import estimate_of
from understudy.pipeline.planner import planner_of
from understudy.pipeline.stages.layer_order import LayerOrderStage
from understudy.pipeline.stages.network_check import network_check
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.starts import start_of
from understudy.records import Example
from understudy.store import Stage

LAYERS = 3
NETWORKS = {
    "llama": Scratch(architecture="llama", width=16, decoder_layers=LAYERS, heads=2, feed_forward=16),
    "t5": small(architecture="t5", encoder_layers=LAYERS, decoder_layers=LAYERS),
}


def stages_of(folder: Path, scratch: Scratch, settings: dict[str, object]) -> tuple[SmallTask, RunStages]:
    """A run whose teacher is used as it is, a random network, and whose student is pruned from it."""
    folder.mkdir(exist_ok=True)
    task = SmallTask.write(folder)
    tokenizer = train_tokenizer([*SOURCES, *SOURCES, *SOURCES], vocab_size=150)
    network = build_network(scratch, tokenizer, max_positions=80, seed=1)
    with torch.no_grad():  # else all layers add nearly nothing
        for weight in network.parameters():
            weight.mul_(3)
    save_network(network, tokenizer, folder / "deep")
    plain = {**task.plain, "teacher": {"model": str(folder / "deep")}, "student": {"prune": settings}}
    return task, build_run(check_recipe(plain), task.context)


def pruned_source(stages: RunStages) -> FromPruned:
    """The student before training."""
    return pruned_source_of(stages.systems.student)


def pruned_source_of(student: Stage[Any]) -> FromPruned:
    """The same of a stage."""
    assert isinstance(student, StudentStage)
    assert isinstance(student.source, FromPruned)
    return student.source


@pytest.mark.parametrize(
    ("name", "settings"), [("llama", {"decoder_layers": 1}), ("t5", {"encoder_layers": 2, "decoder_layers": 1})]
)
def test_the_student_keeps_the_layers_that_the_loss_misses_most(
    name: str, settings: dict[str, object], tmp_path: Path
) -> None:
    """It has the last loss of the stage on the labeled examples, and the layers of the teacher that were kept."""
    task, stages = stages_of(tmp_path, NETWORKS[name], {**settings, "layers": "by_loss"})
    source, context = pruned_source(stages), task.context
    assert isinstance(source.order, LayerOrderStage)
    task.made(source.order)
    facts = context.facts(source.order)
    tokenizer = load_task_tokenizer(source, stages.task.limits, context)
    student = load_source(source, tokenizer, context)
    kept = facts.order.kept
    reference = prune(
        load_network(str(tmp_path / "deep")), encoder_layers=kept.get("encoder"), decoder_layers=kept["decoder"]
    )
    labeled = [json.loads(line) for line in (tmp_path / "labeled.jsonl").read_text().splitlines()]
    nats, tokens = 0.0, 0
    for row in labeled:
        sources, mask = padded(tokenizer.encode_sources([Example("a", row["source"], ())]))
        targets, real = padded(tokenizer.encode_targets([row["target"]]))
        logits_NV = target_logits(
            student, source_ids_SL=sources, source_mask_SL=mask, source_of_B=torch.tensor([0]),
            target_ids_BT=targets, target_mask_BT=real,
        )  # fmt: skip
        nats, tokens = nats + cross_entropy(logits_NV, targets[0], reduction="sum").item(), tokens + len(targets[0])

    assert facts.examples == len(labeled) == 4
    assert facts.order.removed[-1].loss == pytest.approx(nats / tokens, abs=1e-5)
    assert {part: len(layers) for part, layers in kept.items()} == {
        key.removesuffix("_layers"): number for key, number in settings.items()
    }
    assert all(torch.equal(weight, student.state_dict()[key]) for key, weight in reference.state_dict().items())
    for part, layers in kept.items():
        assert f"{part} layers {list(layers)}" in facts.summary


def test_an_order_is_shared_by_all_seeds_of_the_student(tmp_path: Path) -> None:
    """It is a stage of the run with a label, and is not computed again for another student."""
    task, stages = stages_of(tmp_path, NETWORKS["llama"], {"decoder_layers": 1, "layers": "by_loss"})
    other = build_run(stages.task.recipe.model_copy(update={"student_seed": 5}), task.context)

    assert pruned_source(other).order == pruned_source(stages).order == labeled_stages(stages)["layer_order"]
    assert other.systems.student.key != stages.systems.student.key


def test_a_fixed_choice_has_no_stage_and_no_new_key(tmp_path: Path) -> None:
    """`spread` is what a recipe that leaves the choice out has."""
    keys = [
        stages_of(tmp_path / name, NETWORKS["llama"], {"decoder_layers": 1, **more})[1].systems.student
        for name, more in (("none", {}), ("spread", {"layers": "spread"}))
    ]

    assert keys[0].key == keys[1].key
    assert "layers" not in json.dumps(keys[0].fields["source"]).replace("_layers", "")
    assert pruned_source_of(keys[0]).order is None


@pytest.mark.parametrize(
    ("name", "settings", "passes"),
    [
        ("llama", {"decoder_layers": 1}, 1 + 3 + 1 + 2),
        ("t5", {"encoder_layers": 2}, 1 + 3),
        ("t5", {"encoder_layers": 2, "decoder_layers": 2}, 1 + 3 + 3 + 1 + 3),
    ],
)
def test_a_plan_knows_the_cost(name: str, settings: dict[str, object], passes: int, tmp_path: Path) -> None:
    """Each layer that may be removed is left out of a pass; the whole is passed once per step."""
    task, stages = stages_of(tmp_path, NETWORKS[name], {**settings, "layers": "by_loss"})
    order = pruned_source(stages).order
    assert order is not None
    planner = planner_of(stages.task, stages.scores, task.context, replace(NO_SPEED, train=(1e-9, 0.0, 0.0, 0.0, 0.0)))
    own = estimate_of(order, planner)

    assert own.tokens == pytest.approx(passes * 4 * sum(planner.lengths))
    assert own.seconds > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_feed_forward_layers_are_narrower(name: str, tmp_path: Path) -> None:
    """Before training the sizes are those that were foreseen, and the preflight finds it right in CTranslate2."""
    task, stages = stages_of(tmp_path, NETWORKS[name], {"decoder_layers": 2, "layers": "by_loss", "feed_forward": 5})
    source, context = pruned_source(stages), task.context
    assert source.neurons is not None
    task.made(source.neurons)
    student = load_source(source, load_task_tokenizer(source, stages.task.limits, context), context)
    start = start_of(source)
    limits, inputs = stages.task.limits, context.folder(stages.task.examples)
    check = network_check("student", start.source, inputs, limits, "auto", prune=start.prune)
    task.made(check)
    (finding,) = context.facts(check).findings
    assert stages.preview is not None
    task.made(stages.preview)

    config = student.config
    assert {getattr(config, key) for key in ("intermediate_size", "d_ff") if hasattr(config, key)} == {5}
    assert {
        weight.shape[1] for key, weight in student.named_parameters() if key.endswith(("down_proj.weight", "wo.weight"))
    } == {5}
    assert context.facts(stages.preview).kept_parameters == student.num_parameters()
    assert network_size(start, limits, context).parameters == pytest.approx(student.num_parameters(), rel=0.05)
    assert "with engine 'ctranslate2'" in finding.finding


def test_feed_forward_layers_cannot_become_wider(tmp_path: Path) -> None:
    """The message has both widths; nothing is trained before."""
    with pytest.raises(ModelError, match=r"width of 17 .*intermediate_size 16; set feed_forward to at most 16"):
        stages_of(tmp_path, NETWORKS["llama"], {"feed_forward": 17})
