"""One optimizer step: what it minimizes and how it adds up."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from tests.training.contexts import CPU, RecordingSGD, data_of, make_context, make_spec, teacher_items, texts_of
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from understudy.errors import ObjectiveError
from understudy.objectives import OBJECTIVES
from understudy.pool.token_arrays import TokenArrays
from understudy.training.batches import collate
from understudy.training.items import TrainItem
from understudy.training.loop import train_step
from understudy.training.mixture import Mixture
from understudy.training.schedules import TAIDSchedule
from understudy.training.spec import BoundObjective
from understudy.training.state import TrainState
from understudy.training.step import RoundData, TrainContext, micro_batch_loss, prepare_teacher

Build = Callable[..., PreTrainedModel]
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


def context_of(student: PreTrainedModel, teacher: PreTrainedModel | None = None) -> TrainContext:
    """Cross-entropy without a teacher, forward KL with one."""
    return make_context(student, make_spec(student, teacher))


def with_loss(context: TrainContext, **changes: object) -> TrainContext:
    """The same context with other fields of its loss."""
    loss = replace(context.spec.loss, **changes)  # type: ignore[arg-type]
    return replace(context, spec=replace(context.spec, loss=loss))


def gradient(
    context: TrainContext, micro_batches: Sequence[Sequence[TrainItem]], mixture: Mixture
) -> tuple[Tensor, TrainState]:
    """The gradient of one step, and the state after it."""
    state = TrainState()
    train_step(context, micro_batches, data_of(mixture), state)
    assert isinstance(context.optimizer, RecordingSGD)
    return context.optimizer.gradient, state


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal up to float32's rounding of sums in another order."""
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture
def items(mixture: Mixture) -> list[TrainItem]:
    """One item of each of the eight sources, with all three teacher texts."""
    return teacher_items(mixture)


@FAMILIES
@pytest.mark.parametrize("teacher", [None, "bart", "gpt2"])
def test_accumulation_of_one_by_eight_equals_eight_by_one(
    family: str, teacher: str | None, build: Build, mixture: Mixture, items: list[TrainItem]
) -> None:
    """However a step is divided into micro-batches, its gradient and its loss are the same."""
    context = context_of(build(family), build(teacher, seed=1) if teacher else None)
    whole, one = gradient(context, [items], mixture)
    single, eight = gradient(context, [[item] for item in items], mixture)
    uneven, two = gradient(context, [items[:1], items[1:]], mixture)

    assert_close(single, whole)
    assert_close(uneven, whole)
    assert one.loss == pytest.approx(eight.loss, rel=1e-5)
    assert (one.step, eight.step, one.batch, eight.batch, two.batch) == (1, 1, 1, 8, 2)
    assert one.positions == eight.positions == sum(mixture.targets["teacher"].texts.lengths)


@FAMILIES
@pytest.mark.parametrize("teacher", [None, "bart"])
def test_targets_that_share_a_source_are_separate_examples(
    family: str, teacher: str | None, build: Build, mixture: Mixture, items: list[TrainItem]
) -> None:
    """One encoder pass for three targets gives the gradient of three passes."""
    context = context_of(build(family), build(teacher, seed=1) if teacher else None)
    separate = [item._replace(rows=(row,)) for item in items for row in item.rows]

    assert_close(gradient(context, [items], mixture)[0], gradient(context, [separate], mixture)[0])


def logits_alone(model: PreTrainedModel, source: list[int], target: list[int]) -> Tensor:
    """Logits TV of one target after one source: no padding, no batch, no selection."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            decoder_input = [model.config.decoder_start_token_id, *target[:-1]]
            out = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([decoder_input]))
            logits_TV: Tensor = out.logits[0]
        else:
            logits_TV = model(input_ids=torch.tensor([source + target])).logits[0, len(source) - 1 : -1]
    return logits_TV


@FAMILIES
def test_cross_entropy_equals_a_loop_over_single_examples(
    family: str, build: Build, mixture: Mixture, items: list[TrainItem]
) -> None:
    """Shift, masks and mean agree with a plain loop over examples and tokens; source tokens have no loss."""
    student, texts = build(family), texts_of(mixture)
    state = gradient(context_of(student), [items[:5], items[5:]], mixture)[1]
    total, count = 0.0, 0
    for source, generator, rows in items:
        for row in rows:
            target = texts[generator][row].tolist()
            logits_TV = logits_alone(student.eval(), mixture.sources[source].tolist(), target)
            for logits_V, token in zip(logits_TV, target, strict=True):
                total -= math.log(logits_V.double().softmax(dim=0)[token])
                count += 1

    assert state.loss == pytest.approx(total / count, rel=1e-5)


@FAMILIES
@pytest.mark.parametrize("teacher_family", ["bart", "gpt2"])
def test_the_teacher_gets_sources_in_its_own_encoding(
    family: str, teacher_family: str, build: Build, mixture: Mixture, items: list[TrainItem]
) -> None:
    """Teacher and student are compared at the same target tokens also where their source tokens differ."""
    student, teacher = build(family), build(teacher_family, seed=1)
    encoded = TokenArrays.of([[9, *mixture.sources[source].tolist()] for source in range(8)])
    state = gradient(context_of(student, teacher), [items], replace(mixture, teacher_sources=encoded))[1]
    total = 0.0
    for source, generator, rows in items:
        for row in rows:
            target = texts_of(mixture)[generator][row].tolist()
            q_TV = logits_alone(student.eval(), mixture.sources[source].tolist(), target).log_softmax(dim=-1)
            p_TV = logits_alone(teacher, encoded[source].tolist(), target).log_softmax(dim=-1)
            total += float((p_TV.exp() * (p_TV - q_TV)).sum())

    assert state.loss_sum == pytest.approx(total, rel=1e-4)


def test_padding_of_the_vocabulary_is_ignored(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """A teacher whose embeddings are padded to a round number gives the gradient of the unpadded teacher."""
    student, teacher, padded = build(), build(seed=1), build(seed=1)
    padded.resize_token_embeddings(teacher.config.vocab_size + 6, mean_resizing=False)
    torch.nn.init.normal_(padded.get_input_embeddings().weight[-6:], std=5.0)
    expected = gradient(context_of(student, teacher), [items], mixture)[0]

    assert_close(gradient(context_of(student, padded), [items], mixture)[0], expected)


def test_the_teacher_is_in_eval_mode_without_gradients(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Passed in training mode with dropout, it gives the same logits twice and gets no gradient."""
    teacher = build(seed=1, dropout=0.5).train()
    context = context_of(build(), teacher)
    first, second = (gradient(context, [items], mixture)[0] for _ in range(2))

    assert torch.equal(first, second)
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_student_is_in_training_mode(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Also after scoring on dev or sampling, which leave it in eval mode."""
    student = build(dropout=0.5)
    context = context_of(student)
    losses = set()
    for _ in range(2):
        student.eval()
        losses.add(float(micro_batch_loss(context, items, data_of(mixture)).detach()))

    assert len(losses) == 2


def test_settings_reach_the_objective(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Label smoothing changes the loss as it does in torch's cross-entropy on the same logits."""
    context = context_of(build())
    objective = BoundObjective(OBJECTIVES["cross_entropy"], {"label_smoothing": 0.3})
    inputs = collate(items, mixture.sources, texts_of(mixture), pad=0).inputs(CPU)
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    expected = F.cross_entropy(context.model(inputs), labels_N, label_smoothing=0.3, reduction="sum")

    found = micro_batch_loss(with_loss(context, objective=objective), items, data_of(mixture))
    torch.testing.assert_close(found, expected)


def test_student_samples_have_their_own_objective(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Each text counts under the objective of its generator: the sum of both equals the sum of separate batches."""
    context = context_of(build(), build(seed=1))
    reverse_kl = BoundObjective(OBJECTIVES["reverse_kl"])
    texts = texts_of(mixture)
    texts["student"] = texts["teacher"]
    data, samples = RoundData(mixture, texts), [item._replace(generator="student") for item in items]

    expected = micro_batch_loss(context, items, data) + micro_batch_loss(
        with_loss(context, objective=reverse_kl), samples, data
    )
    both = with_loss(context, student_samples_objective=reverse_kl)
    torch.testing.assert_close(micro_batch_loss(both, [*items, *samples], data), expected)


def test_teacher_dropout_can_be_enabled(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Then two passes give different losses (Noisy KD)."""
    context = context_of(build(), build(seed=1, dropout=0.5))
    noisy = with_loss(context, enable_teacher_dropout=True)
    losses = {float(micro_batch_loss(noisy, items, data_of(mixture)).detach()) for _ in range(2)}

    assert len(losses) == 2


def test_dropout_of_a_teacher_without_dropout_is_refused(build: Build) -> None:
    """The message names the setting and both remedies."""
    spec = make_spec(build(), build(seed=1))
    spec = replace(spec, loss=replace(spec.loss, enable_teacher_dropout=True))
    with pytest.raises(ObjectiveError, match=r"enable_teacher_dropout.*logits_kd.*dropout in its config"):
        prepare_teacher(spec, CPU, "float32")


def test_student_dropout_can_be_disabled(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Then its loss is that of a student without dropout."""
    data = data_of(mixture)
    student, teacher = build(dropout=0.5), build(seed=1)
    enabled = context_of(student, teacher)
    disabled = with_loss(enabled, enable_student_dropout=False)

    assert len({float(micro_batch_loss(enabled, items, data).detach()) for _ in range(2)}) == 2
    expected = micro_batch_loss(context_of(build(), teacher), items, data)
    torch.testing.assert_close(micro_batch_loss(disabled, items, data), expected)


def test_the_taid_schedule_advances_with_each_step(build: Build, mixture: Mixture, items: list[TrainItem]) -> None:
    """Its t is part of the state, so that it survives an interruption."""
    context = context_of(build(), build(seed=1))
    schedule = TAIDSchedule(start=0.4, step=0.1, momentum=0.9)
    context = with_loss(context, objective=BoundObjective(OBJECTIVES["taid"]), taid_schedule=schedule)
    state = TrainState()
    found = []
    for _ in range(2):
        train_step(context, [items], data_of(mixture), state)
        found.append(state.schedule_state["taid_t"])

    assert 0.4 < found[0] < found[1] < 1
