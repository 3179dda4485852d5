"""One step of the loop: what it minimises and how it adds up."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.objectives import OBJECTIVES
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import collate
from understudy.training.checkpoints import TrainState
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.schedules import TAIDSchedule
from understudy.training.step import (
    BoundObjective,
    RoundData,
    TargetLogits,
    TrainContext,
    TrainSpec,
    live_teacher,
    loss_of,
    update,
)

Build = Callable[..., PreTrainedModel]
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


class Holding(torch.optim.SGD):
    """Holds the gradient it is given and changes nothing."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Keeps one flat copy."""
        self.held = torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]])


def lecture(student: PreTrainedModel, teacher: PreTrainedModel | None = None) -> TrainContext:
    """What the loop would set up; cross-entropy without a teacher, forward KL with one."""
    accelerator = Accelerator()
    vocabulary = student.config.vocab_size
    objective = OBJECTIVES["forward_kl" if teacher else "cross_entropy"]
    goal = TrainSpec(
        BoundObjective(objective, {}), teacher, vocabulary, lambda _network: {}, "fit", higher_is_better=True
    )
    model = accelerator.prepare(TargetLogits(student, vocabulary, "float32"))
    optimizer, settings = Holding(model.parameters()), Training(max_grad_norm=1e9)
    return TrainContext(
        accelerator, model, optimizer, live_teacher(goal, accelerator, "float32"), goal, settings, pad=0
    )


def texts_of(mixture: Mixture) -> dict[TextGenerator, TokenArrays]:
    """The mixture's texts by generator."""
    return {generator: targets.texts for generator, targets in mixture.targets.items()}


def gradient(
    taught: TrainContext, micro_batches: Sequence[Sequence[TrainItem]], mixture: Mixture
) -> tuple[Tensor, TrainState]:
    """The gradient of one step, and how the training stands after it."""
    standing = TrainState()
    update(taught, micro_batches, RoundData(mixture, texts_of(mixture)), standing)
    assert isinstance(taught.optimizer, Holding)
    return taught.optimizer.held, standing


def assert_same_direction(found: Tensor, expected: Tensor) -> None:
    """Equal up to float32's rounding of sums in another order."""
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture
def lessons(mixture: Mixture) -> list[TrainItem]:
    """One lesson of each of the eight sources, with all three targets."""
    return [TrainItem(source, "teacher", tuple(mixture.targets["teacher"].rows(source))) for source in range(8)]


@FAMILIES
@pytest.mark.parametrize("teacher", [None, "bart", "gpt2"])
def test_one_by_eight_is_eight_by_one(
    family: str, teacher: str | None, build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """However a step is cut into micro-batches, its gradient and its loss are the same."""
    taught = lecture(build(family), build(teacher, seed=1) if teacher else None)
    whole, one = gradient(taught, [lessons], mixture)
    cut, eight = gradient(taught, [[lesson] for lesson in lessons], mixture)
    uneven, two = gradient(taught, [lessons[:1], lessons[1:]], mixture)

    assert_same_direction(cut, whole)
    assert_same_direction(uneven, whole)
    assert one.loss == pytest.approx(eight.loss, rel=1e-5)
    assert (one.step, eight.step, one.batch, eight.batch, two.batch) == (1, 1, 1, 8, 2)
    assert one.positions == eight.positions == sum(mixture.targets["teacher"].texts.lengths)


@FAMILIES
@pytest.mark.parametrize("teacher", [None, "bart"])
def test_targets_that_share_a_source_are_separate_examples(
    family: str, teacher: str | None, build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """One encoder pass for three targets gives the gradient of three passes."""
    taught = lecture(build(family), build(teacher, seed=1) if teacher else None)
    separate = [lesson._replace(rows=(row,)) for lesson in lessons for row in lesson.rows]

    assert_same_direction(gradient(taught, [lessons], mixture)[0], gradient(taught, [separate], mixture)[0])


def logits_alone(model: PreTrainedModel, source: list[int], target: list[int]) -> Tensor:
    """Logits TV of one target after one source: no padding, no batch, no selection."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            heard = [model.config.decoder_start_token_id, *target[:-1]]
            out = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([heard]))
            logits_TV: Tensor = out.logits[0]
        else:
            logits_TV = model(input_ids=torch.tensor([source + target])).logits[0, len(source) - 1 : -1]
    return logits_TV


@FAMILIES
def test_the_loss_of_labels_is_that_of_one_example_at_a_time(
    family: str, build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """Shift, masks and mean agree with a plain loop over examples and tokens; a decoder-only source is not learned."""
    student, texts = build(family), texts_of(mixture)
    standing = gradient(lecture(student), [lessons[:5], lessons[5:]], mixture)[1]
    total, count = 0.0, 0
    for source, generator, rows in lessons:
        for row in rows:
            target = texts[generator][row].tolist()
            logits_TV = logits_alone(student.eval(), mixture.sources[source].tolist(), target)
            for logits_V, token in zip(logits_TV, target, strict=True):
                total -= math.log(logits_V.double().softmax(dim=0)[token])
                count += 1

    assert standing.loss == pytest.approx(total / count, rel=1e-5)


@FAMILIES
@pytest.mark.parametrize("teacher_family", ["bart", "gpt2"])
def test_the_teacher_reads_its_own_sources(
    family: str, teacher_family: str, build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """Where the families mark sources differently, the two are compared at the same target tokens all the same."""
    student, teacher = build(family), build(teacher_family, seed=1)
    own = TokenArrays.of([[9, *mixture.sources[source].tolist()] for source in range(8)])
    standing = gradient(lecture(student, teacher), [lessons], replace(mixture, teacher_sources=own))[1]
    total = 0.0
    for source, generator, rows in lessons:
        for row in rows:
            target = texts_of(mixture)[generator][row].tolist()
            q_TV = logits_alone(student.eval(), mixture.sources[source].tolist(), target).log_softmax(dim=-1)
            p_TV = logits_alone(teacher, own[source].tolist(), target).log_softmax(dim=-1)
            total += float((p_TV.exp() * (p_TV - q_TV)).sum())

    assert standing.loss_sum == pytest.approx(total, rel=1e-4)


def test_padded_rows_of_a_vocabulary_take_no_part(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """A teacher whose embeddings were filled up to a round number teaches what it taught before."""
    student, teacher, padded = build(), build(seed=1), build(seed=1)
    padded.resize_token_embeddings(teacher.config.vocab_size + 6, mean_resizing=False)
    torch.nn.init.normal_(padded.get_input_embeddings().weight[-6:], std=5.0)
    expected = gradient(lecture(student, teacher), [lessons], mixture)[0]

    assert_same_direction(gradient(lecture(student, padded), [lessons], mixture)[0], expected)


def test_the_teacher_teaches_in_eval_mode_and_learns_nothing(
    build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """Handed over in training mode with dropout, it says the same thing twice, and takes no gradient."""
    teacher = build(seed=1, dropout=0.5).train()
    taught = lecture(build(), teacher)
    first, second = (gradient(taught, [lessons], mixture)[0] for _ in range(2))

    assert torch.equal(first, second)
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_student_learns_in_training_mode(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """Also right after it was scored on dev or wrote texts, which leaves it in eval mode."""
    student = build(dropout=0.5)
    taught = lecture(student)
    losses = set()
    for _ in range(2):
        student.eval()
        losses.add(float(loss_of(taught, lessons, RoundData(mixture, texts_of(mixture))).detach()))

    assert len(losses) == 2


def test_settings_reach_the_objective(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """Label smoothing changes the loss by as much as it does on the logits."""
    student = build()
    taught = lecture(student)
    smoothed = replace(
        taught, goal=replace(taught.goal, measure=replace(taught.goal.measure, settings={"label_smoothing": 0.3}))
    )
    inputs = collate(lessons, mixture.sources, texts_of(mixture), pad=0).inputs(taught.accelerator.device)
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    expected = F.cross_entropy(taught.model(inputs), labels_N, label_smoothing=0.3, reduction="sum")

    torch.testing.assert_close(loss_of(smoothed, lessons, RoundData(mixture, texts_of(mixture))), expected)


def test_another_objective_for_the_students_texts(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """Each text counts under the objective of its writer: the two sums are those of the two halves alone."""
    teacher = build(seed=1)
    taught = lecture(build(), teacher)
    reverse = BoundObjective(OBJECTIVES["reverse_kl"], {})
    both = replace(taught, goal=replace(taught.goal, student_samples_objective=reverse))
    texts = texts_of(mixture)
    texts["student"] = texts["teacher"]
    own = [lesson._replace(generator="student") for lesson in lessons if lesson.generator == "teacher"]

    expected = loss_of(taught, lessons, RoundData(mixture, texts)) + loss_of(
        replace(taught, goal=replace(taught.goal, measure=reverse)), own, RoundData(mixture, texts)
    )
    torch.testing.assert_close(loss_of(both, [*lessons, *own], RoundData(mixture, texts)), expected)


def test_a_noisy_teacher_has_its_dropout_on(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """It never says the same thing twice (Noisy KD)."""
    taught = lecture(build(), build(seed=1, dropout=0.5))
    noisy = replace(taught, goal=replace(taught.goal, enable_teacher_dropout=True))
    losses = {float(loss_of(noisy, lessons, RoundData(mixture, texts_of(mixture))).detach()) for _ in range(2)}

    assert len(losses) == 2


def test_a_noisy_teacher_without_dropout_is_refused(build: Build) -> None:
    """What it says would be called noisy and is not."""
    goal = replace(lecture(build(), build(seed=1)).goal, enable_teacher_dropout=True)
    with pytest.raises(ObjectiveError, match=r"this teacher has none.*use method logits_kd, or a teacher with dropout"):
        live_teacher(goal, Accelerator(), "float32")


def test_a_quiet_student_learns_as_one_without_dropout(
    build: Build, mixture: Mixture, lessons: list[TrainItem]
) -> None:
    """Its dropout is off, whatever was done with it before; that of others is on."""
    material = RoundData(mixture, texts_of(mixture))
    student, teacher = build(dropout=0.5), build(seed=1)
    loud = lecture(student, teacher)
    quiet = replace(loud, goal=replace(loud.goal, enable_student_dropout=False))

    assert len({float(loss_of(loud, lessons, material).detach()) for _ in range(2)}) == 2
    torch.testing.assert_close(loss_of(quiet, lessons, material), loss_of(lecture(build(), teacher), lessons, material))


def test_a_moving_target_moves_with_each_step(build: Build, mixture: Mixture, lessons: list[TrainItem]) -> None:
    """TAID's t is remembered in the standing, so that it survives a kill."""
    taught = lecture(build(), build(seed=1))
    goal = replace(
        taught.goal,
        measure=BoundObjective(OBJECTIVES["taid"], {}),
        moving=TAIDSchedule(start=0.4, step=0.1, momentum=0.9),
    )
    standing = TrainState()
    places = []
    for _ in range(2):
        update(replace(taught, goal=goal), [lessons], RoundData(mixture, texts_of(mixture)), standing)
        places.append(standing.schedule_state["taid_t"])

    assert 0.4 < places[0] < places[1] < 1
