"""Training steps in which a decoder-only network reads a prompt once for its targets."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.contexts import data_of, make_context, make_spec, teacher_items
from transformers import PreTrainedModel

from understudy.pool.token_arrays import TokenArrays
from understudy.training import step
from understudy.training.chunked_loss import WHOLE_LOGITS
from understudy.training.mixture import AutoTargets, Mixture
from understudy.training.relation_loss import RelationLoss
from understudy.training.step import TrainContext, micro_batch_loss

Build = Callable[..., PreTrainedModel]
INPUTS = 8


@pytest.fixture
def auto(mixture: Mixture) -> Mixture:
    """Eight sources of twelve tokens, each with its three texts in an item, as `auto` plans them."""
    sources = TokenArrays.of(np.random.default_rng(1).integers(4, 100, (INPUTS, 12)).tolist())
    return replace(mixture, sources=sources, auto=AutoTargets(3, 12.0, 5.0, 3))


def tokens_read(network: PreTrainedModel, loss: Callable[[], object]) -> int:
    """Token embeddings that a computation looks up, padding included."""
    counts: list[int] = []
    handle = network.get_input_embeddings().register_forward_hook(lambda *call: counts.append(call[1][0].numel()))
    loss()
    handle.remove()
    return sum(counts)


def loss_of(context: TrainContext, mixture: Mixture) -> Callable[[], torch.Tensor]:
    """The loss of a micro-batch of all sources."""
    return lambda: micro_batch_loss(context, teacher_items(mixture), data_of(mixture))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("objective", ["cross_entropy", "forward_kl"])
@pytest.mark.parametrize("whole_logits", [0, WHOLE_LOGITS], ids=["in chunks", "as a whole"])
def test_auto_gives_the_gradient_of_separate_rows(
    family: str, objective: str, whole_logits: int, build: Build, auto: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer tokens read, by the student and by a teacher that runs at every step."""
    monkeypatch.setattr(step, "WHOLE_LOGITS", whole_logits)
    student, teacher = build(family), build(family, seed=1)
    context = make_context(student, make_spec(student, teacher, objective))
    parameters = list(student.parameters())
    rows = replace(auto, auto=None)
    found, expected = (
        torch.cat([part.flatten() for part in torch.autograd.grad(loss_of(context, own)(), parameters)])
        for own in (auto, rows)
    )
    longest = max(auto.targets["teacher"].texts.lengths)

    assert (found - expected).norm() < 1e-5 * expected.norm()
    for network in (student, teacher) if objective == "forward_kl" else (student,):
        assert tokens_read(network, loss_of(context, auto)) == INPUTS * (11 + 3 * longest)
        assert tokens_read(network, loss_of(context, rows)) == 3 * INPUTS * (11 + longest)


def test_relations_compare_whole_rows(build: Build, auto: Mixture) -> None:
    """Their states are those of source and target in one row."""
    student, teacher = build("gpt2"), build("gpt2", seed=1)
    relations = RelationLoss(of="attention", share=0.5, scale_batches=1)
    context = make_context(student, make_spec(student, teacher, relation_loss=relations))
    state = {"scale_divergence": 1.0, "scale_relations": 1.0}
    longest = max(auto.targets["teacher"].texts.lengths)

    def loss() -> torch.Tensor:
        return micro_batch_loss(context, teacher_items(auto), data_of(auto), schedule_state=state)

    assert tokens_read(student, loss) == 3 * INPUTS * (11 + longest)
