"""Relations in the loop: which states are compared under which mask, and how much they weigh."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.models.attention import capture_attention
from understudy.objectives import OBJECTIVES
from understudy.objectives.relations import relation_kl
from understudy.training.loop import train
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.relation_loss import RelationLoss
from understudy.training.step import (
    BoundObjective,
    RoundData,
    TargetLogits,
    TrainContext,
    TrainSpec,
    live_teacher,
    loss_of,
    terms_of,
)

Build = Callable[..., PreTrainedModel]
ATTENTION, HIDDEN = RelationLoss("attention", 0.5, 2), RelationLoss("hidden", 0.25, 2)
EVEN = {"scale_divergence": 1.0, "scale_relations": 1.0}
KINDS = pytest.mark.parametrize("relating", [ATTENTION, HIDDEN], ids=lambda own: own.of)
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


def goal_of(student: PreTrainedModel, teacher: PreTrainedModel, relating: RelationLoss | None) -> TrainSpec:
    """Forward KL and relations."""
    return TrainSpec(
        BoundObjective(OBJECTIVES["forward_kl"], {}), teacher, student.config.vocab_size, lambda _: {"fit": 0.0}, "fit",
        higher_is_better=True, relating=relating,
    )  # fmt: skip


def lecture(student: PreTrainedModel, teacher: PreTrainedModel, relating: RelationLoss | None) -> TrainContext:
    """What the loop would set up."""
    accelerator, goal = Accelerator(), goal_of(student, teacher, relating)
    model = accelerator.prepare(TargetLogits(student, goal.vocabulary, "float32"))
    optimizer = torch.optim.SGD(model.parameters())
    return TrainContext(
        accelerator, model, optimizer, live_teacher(goal, accelerator, "float32"), goal, Training(), pad=0
    )


def material(mixture: Mixture) -> RoundData:
    """The texts that are there."""
    return RoundData(mixture, {generator: targets.texts for generator, targets in mixture.targets.items()})


def lessons_of(mixture: Mixture) -> list[TrainItem]:
    """The teacher's three texts of each of the eight sources."""
    return [TrainItem(source, "teacher", tuple(mixture.targets["teacher"].rows(source))) for source in range(8)]


def alone(model: PreTrainedModel, source: list[int], target: list[int]) -> dict[str, Tensor]:
    """What one source and one target leave, without batch or padding."""
    with torch.no_grad(), capture_attention(model.eval()) as heard:
        if model.config.is_encoder_decoder:
            begun = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
            model(input_ids=torch.tensor([source]), decoder_input_ids=begun)
        else:
            model(input_ids=torch.tensor([[*source, *target[:-1]]]))
    return dict(heard.relations)


def term(key: str, student: Tensor, teacher: Tensor) -> float:
    """One relation of one example, where every position is true."""
    causal = key.startswith("decoder")
    everywhere = torch.ones(student.shape[:2], dtype=torch.bool)
    return float(relation_kl(student, teacher, everywhere, heads=2, causal=causal))


@FAMILIES
@KINDS
def test_it_is_that_of_one_example_at_a_time(
    family: str, relating: RelationLoss, build: Build, mixture: Mixture
) -> None:
    """The mean of an example's terms, weighted by its tokens; padding and neighbours take no part."""
    student, teacher = build(family), build(family, seed=1)
    _, found = terms_of(lecture(student, teacher, relating), lessons_of(mixture), material(mixture))

    expected, texts = 0.0, mixture.targets["teacher"].texts
    for lesson in lessons_of(mixture):
        for row in lesson.rows:
            source, target = mixture.sources[lesson.source].tolist(), texts[row].tolist()
            mine, theirs = alone(student, source, target), alone(teacher, source, target)
            keys = [key for key in mine if key.endswith("hidden") == (relating.of == "hidden")]
            assert len(keys) == {("bart", "attention"): 9, ("bart", "hidden"): 2}.get((family, relating.of), len(keys))
            expected += len(target) * sum(term(key, mine[key], theirs[key]) for key in keys) / len(keys)

    assert found.item() == pytest.approx(expected, rel=1e-4)


@FAMILIES
@KINDS
def test_one_by_eight_is_eight_by_one(family: str, relating: RelationLoss, build: Build, mixture: Mixture) -> None:
    """However a step is cut, what it minimises is the same."""
    taught = lecture(build(family), build(family, seed=1), relating)
    lessons, all_ = lessons_of(mixture), material(mixture)
    whole = loss_of(taught, lessons, all_, memory=EVEN)
    parts = torch.stack([loss_of(taught, [lesson], all_, memory=EVEN) for lesson in lessons])

    torch.testing.assert_close(parts.sum(), whole, rtol=1e-5, atol=1e-5)


def test_each_term_weighs_by_share_and_scale(build: Build, mixture: Mixture) -> None:
    """A quarter of the hidden relations, three quarters of the divergence, each by its scale."""
    taught = lecture(build(), build(seed=1), HIDDEN)
    divergence, relations = terms_of(taught, lessons_of(mixture), material(mixture))
    memory = {"scale_divergence": 3.0, "scale_relations": 5.0}
    loss = loss_of(taught, lessons_of(mixture), material(mixture), memory=memory)

    torch.testing.assert_close(loss, 0.75 * 3 * divergence + 0.25 * 5 * relations)
    assert relations.item() > 0


def test_a_scale_makes_a_mean_one_unless_it_is_tiny() -> None:
    """The mean over all positions of the batches; below 0.025 a term is not blown up further."""
    sums = [(torch.tensor(6.0), torch.tensor(0.01), 2), (torch.tensor(2.0), torch.tensor(0.02), 2)]

    assert ATTENTION.scales(sums) == {"scale_divergence": 0.5, "scale_relations": 40.0}


def test_the_relations_reach_every_layer_below(build: Build, mixture: Mixture) -> None:
    """With no share for the divergence the last layers' queries still get a gradient, the teacher none."""
    student, teacher = build(), build(seed=1)
    taught = lecture(student, teacher, replace(ATTENTION, share=1.0))
    torch.autograd.backward(loss_of(taught, lessons_of(mixture), material(mixture), memory=EVEN))

    query = student.model.decoder.layers[-1].self_attn.q_proj.weight
    assert query.grad is not None
    assert query.grad.norm() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_networks_of_two_kinds_are_refused(build: Build, mixture: Mixture) -> None:
    """The message says what would work."""
    taught = lecture(build("gpt2"), build("bart", seed=1), HIDDEN)

    with pytest.raises(ObjectiveError, match=r"one of teacher and student has an encoder.*leave distil\.relations out"):
        loss_of(taught, lessons_of(mixture), material(mixture), memory=EVEN)


def test_a_training_measures_its_scales_before_its_first_step(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """They are kept with the checkpoints, and stay as they are."""
    student = build()
    goal = replace(goal_of(student, build(seed=1), ATTENTION), judge_start=False)
    standing = train(
        student, mixture, goal, settings=Training(epochs=2, batch_tokens=120), seed=3, precision="float32", pad=0,
        folder=tmp_path, advance=lambda amount, note="": None,
    )  # fmt: skip

    assert set(standing.schedule_state) == {"scale_divergence", "scale_relations"}
    assert all(value > 0 for value in standing.schedule_state.values())
