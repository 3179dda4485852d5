"""A whole training: its evaluations on dev, and its end."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.models.test_compilation import TORCH_WARNS, Calls
from tests.training.contexts import CPU, make_spec
from tests.training.given_scores import SETTINGS, Build, GivenScores, RecordedProgress, train_on, weights
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError, TrainingError
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_PROGRESS
from understudy.training.items import TrainItem, TrainItems
from understudy.training.loop import _set_learning_rate, train
from understudy.training.mixture import Mixture, plan_round
from understudy.training.rounds import add_student_samples
from understudy.training.student_sampling import StudentSamples


def test_dev_is_evaluated_as_often_as_requested_and_at_the_end(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Every second epoch of five epochs of two rounds, and after the last."""
    settings = SETTINGS.model_copy(update={"epochs": 5, "evaluate_every": 2})
    mixture = replace(mixture, rounds_per_epoch=2)
    state = train_on(build(), mixture, GivenScores(1, 2, 3), tmp_path, settings=settings)

    assert [row["round"] for row in state.history] == [4, 8, 10]


@pytest.mark.parametrize(("gradient_accumulation_steps", "steps"), [(1, 16), (3, 6), (16, 1), (100, 1)])
def test_every_micro_batch_is_part_of_a_step(
    gradient_accumulation_steps: int, steps: int, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """The first of an epoch too, and the remainder at its end: sixteen items, each its own micro-batch."""
    settings = SETTINGS.model_copy(
        update={"epochs": 1, "batch_tokens": 1, "gradient_accumulation_steps": gradient_accumulation_steps}
    )
    network = build()
    before = weights(network)
    state = train_on(network, mixture, GivenScores(1), tmp_path, settings=settings)

    assert state.step == steps
    assert not torch.equal(weights(network), before)


@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_gradient_checkpointing_changes_no_weight(family: str, build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Bit by bit, with dropout, although each layer is computed twice."""
    found, calls = [], []
    for enabled in (None, True):
        network, count = build(family, dropout=0.2), 0

        def counting(*_call: object) -> None:
            nonlocal count
            count += 1

        network.get_submodule("model.decoder.layers.0.fc1" if family == "bart" else "transformer.h.0.mlp.c_fc"
        ).register_forward_hook(counting)  # fmt: skip
        settings = SETTINGS.model_copy(update={"epochs": 1, "gradient_checkpointing": enabled})
        train_on(network, mixture, GivenScores(1), tmp_path / str(enabled), settings=settings)
        found.append(weights(network))
        calls.append(count)

    assert torch.equal(*found)
    assert calls[1] == 2 * calls[0]


def test_gradient_checkpointing_that_is_off_is_in_no_key() -> None:
    """False is the same as leaving it out."""
    assert Training.model_validate({"gradient_checkpointing": False}) == Training()


@TORCH_WARNS
def test_layers_are_compiled_where_that_is_set(
    build: Build, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of several lengths and with layers that are computed twice; the weights are the same."""
    found, calls = [], Calls(monkeypatch)
    for enabled in (None, True):
        settings = SETTINGS.model_copy(
            update={"epochs": 1, "compile_layers": enabled, "gradient_checkpointing": enabled, "learning_rate": 1e-3}
        )
        network = build("gpt2")
        count = calls.during(
            partial(train_on, network, mixture, GivenScores(1), tmp_path / str(enabled), settings=settings)
        )
        assert (count > 0) == bool(enabled)
        found.append(weights(network))

    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["bart", "gpt2"])
@pytest.mark.parametrize("with_teacher", [False, True])
def test_the_loss_decreases(family: str, with_teacher: bool, build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """To well below that of an untrained network, on labels and on a teacher's distributions."""
    teacher = build(family, seed=1) if with_teacher else None
    if teacher is not None:  # an untrained network gives nearly equal probabilities: nothing to learn
        torch.nn.init.normal_(teacher.get_input_embeddings().weight)
    settings = SETTINGS.model_copy(update={"epochs": 12})
    scores = GivenScores(*range(12))
    state = train_on(build(family), mixture, scores, tmp_path, settings=settings, teacher=teacher)
    losses = [row["train_loss"] for row in state.history]

    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_keeps_float32_weights(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Autocast computes in bf16: the loss is close, not equal, and the weights stay float32."""
    exact = train_on(build(), mixture, GivenScores(1, 2, 3), tmp_path / "exact")
    network = build()
    rounded = train_on(network, mixture, GivenScores(1, 2, 3), tmp_path / "rounded", precision="bf16")
    losses = [state.history[0]["train_loss"] for state in (rounded, exact)]

    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] != losses[1]


def test_a_diverged_training_is_refused(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """A loss of nan ends the training with its step, the learning rate and the remedy."""
    network = build()
    torch.nn.init.constant_(network.get_input_embeddings().weight, float("nan"))

    with pytest.raises(TrainingError, match=r"nan at step \d+.*lower the learning rate \(now 0\.01\).*warmup_steps"):
        train_on(network, mixture, GivenScores(1, 2, 3), tmp_path)


def test_progress_reports_every_round(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """The amounts add up to the number of rounds; the notes show loss and dev score."""
    progress = RecordedProgress()
    mixture = replace(mixture, rounds_per_epoch=2)
    train_on(build(), mixture, GivenScores(1, 2, 3.456), tmp_path, progress=progress)

    assert sum(progress.amounts) == pytest.approx(6)
    assert progress.notes[1].startswith("loss ")
    assert progress.notes[-1] == "dev fit 3.46"


def test_a_finished_training_leaves_one_checkpoint_and_the_best_weights(
    build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """Earlier ones are deleted."""
    train_on(build(), mixture, GivenScores(1, 2, 0), tmp_path)

    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["best", "checkpoint"]


def test_student_items_without_a_sampler_are_refused(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """The message names the round, the number of items and the missing argument."""
    mixture = replace(mixture, shares={"student": 1.0})
    with pytest.raises(ObjectiveError, match=r"round 0 .*8 items.*sample_student"):
        train_on(build(), mixture, GivenScores(), tmp_path)


def test_an_objective_on_distributions_without_a_teacher_is_refused(
    build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """The message names the objective."""
    network = build()
    with pytest.raises(ObjectiveError, match=r"forward_kl .*teacher"):
        train(
            network, mixture, make_spec(network, None, "forward_kl"), settings=SETTINGS, seed=3, precision="float32",
            device=CPU, pad=0, folder=tmp_path, progress=NO_PROGRESS,
        )  # fmt: skip


def test_student_samples_belong_to_their_sources(build: Build, mixture: Mixture) -> None:
    """Each item of the student gets the samples of its own source."""

    def sample(_student: PreTrainedModel, items: Sequence[TrainItem], number: int) -> StudentSamples:
        texts = TokenArrays.of([[item.source, copy, number] for item in reversed(items) for copy in item.rows])
        places = reversed(range(len(items)))
        own = [item._replace(rows=(2 * place, 2 * place + 1)) for item, place in zip(items, places, strict=True)]
        return StudentSamples(texts, TrainItems.of(own), {})

    mixture = replace(mixture, shares={"teacher": 1.0, "student": 1.0}, targets_per_source=2)
    items, samples = add_student_samples(build(), plan_round(mixture, number=4, seed=0), 4, sample)
    own = [item for item in items if item.generator == "student"]

    assert samples is not None
    assert len(own) == 4
    for item in own:
        assert [samples.texts[row].tolist() for row in item.rows] == [[item.source, 0, 4], [item.source, 1, 4]]


@pytest.mark.parametrize(("schedule", "at_half", "at_end"), [("linear", 0.5, 0.1), ("constant", 1.0, 1.0)])
def test_the_learning_rate_warms_up_then_follows_its_schedule(schedule: str, at_half: float, at_end: float) -> None:
    """By step during warm-up, by the share of training done after it; never above its peak, never zero."""
    optimizer = torch.optim.SGD([torch.zeros(1)])
    settings = Training.model_validate({"learning_rate": 1, "warmup_steps": 4, "schedule": schedule})
    rates = []
    for step, progress in [(0, 0.0), (1, 0.01), (3, 0.0), (50, 0.5), (90, 0.9)]:
        _set_learning_rate(optimizer, settings, step, progress)
        rates.append(optimizer.param_groups[0]["lr"])

    assert rates == pytest.approx([0.25, 0.5, 1.0, at_half, at_end])


def test_the_learning_rate_decays_over_the_whole_training(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """With one step per epoch, the fifth of five has a fifth of the peak; the first is the same for both."""
    changes = {}
    for schedule in ("linear", "constant"):
        scores = GivenScores(*range(6))
        settings = SETTINGS.model_copy(update={"epochs": 5, "batch_tokens": 10_000, "schedule": schedule})
        train_on(build(), mixture, scores, tmp_path / schedule, settings=settings, evaluate_start=True)
        changes[schedule] = [float((after - before).abs().mean()) for before, after in pairwise(scores.weights)]

    assert changes["linear"][0] == changes["constant"][0]
    assert changes["linear"][4] == pytest.approx(changes["constant"][4] / 5, rel=0.5)
