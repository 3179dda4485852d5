"""The relation loss in training: which states are compared under which mask, and with which weight."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.contexts import CPU, data_of, make_context, make_spec, teacher_items
from torch import Tensor
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.models.attention import capture_attention
from understudy.objectives.relations import relation_kl
from understudy.progress import NO_PROGRESS
from understudy.training.loop import train
from understudy.training.mixture import Mixture
from understudy.training.relation_loss import RelationLoss
from understudy.training.step import TrainContext, loss_terms, micro_batch_loss

Build = Callable[..., PreTrainedModel]
ATTENTION, HIDDEN = RelationLoss("attention", 0.5, 2), RelationLoss("hidden", 0.25, 2)
UNSCALED = {"scale_divergence": 1.0, "scale_relations": 1.0}
KINDS = pytest.mark.parametrize("relation_loss", [ATTENTION, HIDDEN], ids=lambda loss: loss.of)
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


def context_of(student: PreTrainedModel, teacher: PreTrainedModel, relation_loss: RelationLoss) -> TrainContext:
    """Forward KL and relations."""
    return make_context(student, make_spec(student, teacher, relation_loss=relation_loss))


def states_alone(model: PreTrainedModel, source: list[int], target: list[int]) -> dict[str, Tensor]:
    """The captured states of one source and one target, without batch or padding."""
    with torch.no_grad(), capture_attention(model.eval()) as captured:
        if model.config.is_encoder_decoder:
            decoder_input = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
            model(input_ids=torch.tensor([source]), decoder_input_ids=decoder_input)
        else:
            model(input_ids=torch.tensor([[*source, *target[:-1]]]))
    return dict(captured.relations)


def relation_term(key: str, student: Tensor, teacher: Tensor) -> float:
    """One relation of one example without padding."""
    causal = key.startswith("decoder")
    everywhere = torch.ones(student.shape[:2], dtype=torch.bool)
    return float(relation_kl(student, teacher, everywhere, heads=2, causal=causal))


@FAMILIES
@KINDS
def test_it_equals_a_loop_over_single_examples(
    family: str, relation_loss: RelationLoss, build: Build, mixture: Mixture
) -> None:
    """The mean of an example's terms, weighted by its tokens; padding and other examples have no effect."""
    student, teacher = build(family), build(family, seed=1)
    _, found = loss_terms(context_of(student, teacher, relation_loss), teacher_items(mixture), data_of(mixture))

    expected, texts = 0.0, mixture.targets["teacher"].texts
    for item in teacher_items(mixture):
        for row in item.rows:
            source, target = mixture.sources[item.source].tolist(), texts[row].tolist()
            own, other = states_alone(student, source, target), states_alone(teacher, source, target)
            keys = [key for key in own if key.endswith("hidden") == (relation_loss.of == "hidden")]
            number = {("bart", "attention"): 9, ("bart", "hidden"): 2}.get((family, relation_loss.of), len(keys))
            assert len(keys) == number
            expected += len(target) * sum(relation_term(key, own[key], other[key]) for key in keys) / len(keys)

    assert found.item() == pytest.approx(expected, rel=1e-4)


@FAMILIES
@KINDS
def test_accumulation_does_not_change_it(
    family: str, relation_loss: RelationLoss, build: Build, mixture: Mixture
) -> None:
    """However a step is divided into micro-batches, its loss is the same."""
    context = context_of(build(family), build(family, seed=1), relation_loss)
    items, data = teacher_items(mixture), data_of(mixture)
    whole = micro_batch_loss(context, items, data, schedule_state=UNSCALED)
    parts = torch.stack([micro_batch_loss(context, [item], data, schedule_state=UNSCALED) for item in items])

    torch.testing.assert_close(parts.sum(), whole, rtol=1e-5, atol=1e-5)


def test_each_term_has_its_share_and_scale(build: Build, mixture: Mixture) -> None:
    """A quarter of the hidden-state relations, three quarters of the divergence, each multiplied by its scale."""
    context, items, data = context_of(build(), build(seed=1), HIDDEN), teacher_items(mixture), data_of(mixture)
    divergence, relations = loss_terms(context, items, data)
    scales = {"scale_divergence": 3.0, "scale_relations": 5.0}
    loss = micro_batch_loss(context, items, data, schedule_state=scales)

    torch.testing.assert_close(loss, 0.75 * 3 * divergence + 0.25 * 5 * relations)
    assert relations.item() > 0


def test_a_scale_is_one_over_the_mean_with_a_minimum() -> None:
    """The mean over all positions of the micro-batches; below 0.025 it no longer raises the scale."""
    sums = [(torch.tensor(6.0), torch.tensor(0.01), 2), (torch.tensor(2.0), torch.tensor(0.02), 2)]

    assert ATTENTION.scales(sums) == {"scale_divergence": 0.5, "scale_relations": 40.0}


def test_the_relations_have_a_gradient(build: Build, mixture: Mixture) -> None:
    """Without a share for the divergence the last layer's queries still get a gradient, the teacher none."""
    student, teacher = build(), build(seed=1)
    context = context_of(student, teacher, replace(ATTENTION, share=1.0))
    loss = micro_batch_loss(context, teacher_items(mixture), data_of(mixture), schedule_state=UNSCALED)
    torch.autograd.backward(loss)

    query = student.model.decoder.layers[-1].self_attn.q_proj.weight
    assert query.grad is not None
    assert query.grad.norm() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_networks_of_two_kinds_are_refused(build: Build, mixture: Mixture) -> None:
    """The message names the setting and the difference."""
    context = context_of(build("gpt2"), build("bart", seed=1), HIDDEN)

    with pytest.raises(ObjectiveError, match=r"distil\.relations.*has an encoder.*remove distil\.relations"):
        micro_batch_loss(context, teacher_items(mixture), data_of(mixture), schedule_state=UNSCALED)


def test_scales_are_measured_before_the_first_step(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """They are part of the state, which checkpoints save."""
    student = build()
    state = train(
        student, mixture, make_spec(student, build(seed=1), relation_loss=ATTENTION),
        settings=Training(epochs=2, batch_tokens=120), seed=3, precision="float32", device=CPU, pad=0, folder=tmp_path,
        progress=NO_PROGRESS,
    )  # fmt: skip

    assert set(state.schedule_state) == {"scale_divergence", "scale_relations"}
    assert all(value > 0 for value in state.schedule_state.values())
