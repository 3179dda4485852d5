"""A whole training: its looks at dev, its end, and what it gives back."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError, TrainingError
from understudy.objectives import OBJECTIVES
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import ProgressCallback
from understudy.training.checkpoints import TrainState
from understudy.training.loop import _lessons_of_round, _set_rate, train
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.step import BoundObjective, Precision, TrainSpec
from understudy.training.student_sampling import StudentSamples

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(learning_rate=1e-2, epochs=3, batch_tokens=120, warmup_steps=0)


def weights(network: PreTrainedModel) -> Tensor:
    """All weights, flat."""
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


class Examiner:
    """Gives the scores it was told to give, and remembers the weights it saw."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.seen = list(scores), list[Tensor]()

    def __call__(self, network: PreTrainedModel) -> Mapping[str, float]:
        """A look at dev."""
        self.seen.append(weights(network))
        return {"fit": self.scores[len(self.seen) - 1]}


class TeacherLogprobScorer:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.amounts, self.notes = list[float](), list[str]()

    def __call__(self, amount: float, note: str = "") -> None:
        """So much more is done."""
        self.amounts.append(amount)
        self.notes.append(note)


def teach(
    network: PreTrainedModel,
    mixture: Mixture,
    examiner: Examiner,
    folder: Path,
    *,
    settings: Training = SETTINGS,
    teacher: PreTrainedModel | None = None,
    advance: ProgressCallback | None = None,
    precision: Precision = "float32",
    higher_is_better: bool = True,
    judge_start: bool = False,
) -> TrainState:
    """A training on gold and the teacher's texts."""
    objective = OBJECTIVES["forward_kl" if teacher else "cross_entropy"]
    asked = TrainSpec(
        BoundObjective(objective, {}),
        teacher,
        network.config.vocab_size,
        examiner,
        "fit",
        higher_is_better=higher_is_better,
        judge_start=judge_start,
    )
    folder.mkdir(exist_ok=True)
    return train(
        network, mixture, asked, settings=settings, seed=3, precision=precision, pad=0, folder=folder,
        advance=advance or TeacherLogprobScorer(),
    )  # fmt: skip


@pytest.mark.parametrize(("scores", "higher_is_better"), [((1, 3, 2), True), ((3, 1, 2), False)])
def test_the_best_weights_are_given_back(
    scores: Sequence[float], higher_is_better: bool, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """Those that dev liked best, whichever way its metric points, not the last."""
    network, examiner = build(), Examiner(*scores)
    standing = teach(network, mixture, examiner, tmp_path, higher_is_better=higher_is_better)

    assert torch.equal(weights(network), examiner.seen[1])
    assert not torch.equal(weights(network), examiner.seen[2])
    assert [row["fit"] for row in standing.history] == list(scores)
    assert standing.best_step == standing.history[1]["step"]


def test_the_last_weights_are_given_back_where_asked(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Whatever dev says of them; it is told all the same."""
    network, examiner = build(), Examiner(1, 3, 2)
    settings = SETTINGS.model_copy(update={"keep_weights": "last"})
    standing = teach(network, mixture, examiner, tmp_path, settings=settings)

    assert torch.equal(weights(network), examiner.seen[2])
    assert not torch.equal(weights(network), examiner.seen[1])
    assert [row["fit"] for row in standing.history] == [1, 3, 2]
    assert standing.best_step == standing.history[2]["step"]


def test_the_mean_of_late_weights_is_given_back(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Of those after every step of the last quarter, as numpy finds it; dev's last look is at them."""
    network, examiner, listener, after = build(), Examiner(1, 3, 2), TeacherLogprobScorer(), list[Tensor]()

    def watch(amount: float, note: str = "") -> None:
        listener(amount, note)
        if note.startswith("loss"):
            after.append(weights(network))

    settings = SETTINGS.model_copy(update={"keep_weights": "average", "schedule": "constant", "batch_tokens": 40})
    standing = teach(network, mixture, examiner, tmp_path, settings=settings, advance=watch)

    last = standing.step - int(standing.history[1]["step"])
    counted = after[-math.ceil(0.75 * last) :]  # of three epochs the last quarter is that of the last epoch's steps
    assert 1 < len(counted) < last
    np.testing.assert_allclose(weights(network), np.mean(np.stack(counted), axis=0), rtol=1e-5, atol=1e-7)
    assert torch.equal(weights(network), examiner.seen[2])
    assert not torch.equal(weights(network), after[-1])


def test_patience_ends_a_training(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """After two looks without improvement; an equal score is none, and an improvement starts the count anew."""
    network, examiner = build(), Examiner(1, 0, 2, 2, 1, 9, 9)
    settings = SETTINGS.model_copy(update={"epochs": 7, "patience": 2})
    standing = teach(network, mixture, examiner, tmp_path, settings=settings)

    assert [row["fit"] for row in standing.history] == [1, 0, 2, 2, 1]
    assert torch.equal(weights(network), examiner.seen[2])


def test_a_start_that_dev_likes_best_is_kept(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """A last lesson on gold cannot make a student worse on dev."""
    network = build()
    start = weights(network)
    standing = teach(network, mixture, Examiner(5, 1, 1, 1), tmp_path, judge_start=True)

    assert torch.equal(weights(network), start)
    assert (standing.best_step, standing.history[0]["step"], standing.step > 0) == (0, 0, True)


def test_a_start_that_is_surpassed_is_left(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """A last lesson on gold changes the student where dev improves."""
    network, examiner = build(), Examiner(1, 2, 0, 0)
    teach(network, mixture, examiner, tmp_path, judge_start=True)

    assert torch.equal(weights(network), examiner.seen[1])
    assert not torch.equal(examiner.seen[1], examiner.seen[0])


def test_dev_is_looked_at_as_often_as_asked_and_at_the_end(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Every second epoch of five rounds of two, and after the last."""
    settings = SETTINGS.model_copy(update={"epochs": 5, "evaluate_every": 2})
    standing = teach(build(), replace(mixture, rounds_per_epoch=2), Examiner(1, 2, 3), tmp_path, settings=settings)

    assert [row["round"] for row in standing.history] == [4, 8, 10]


@pytest.mark.parametrize(("gradient_accumulation_steps", "steps"), [(1, 16), (3, 6), (16, 1), (100, 1)])
def test_every_batch_is_part_of_an_update(
    gradient_accumulation_steps: int, steps: int, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """The first of an epoch too, and those left over at its end: sixteen lessons, each its own batch."""
    settings = SETTINGS.model_copy(
        update={"epochs": 1, "batch_tokens": 1, "gradient_accumulation_steps": gradient_accumulation_steps}
    )
    network = build()
    before = weights(network)
    standing = teach(network, mixture, Examiner(1), tmp_path, settings=settings)

    assert standing.step == steps
    assert not torch.equal(weights(network), before)


@pytest.mark.parametrize("family", ["bart", "gpt2"])
@pytest.mark.parametrize("taught", [False, True])
def test_the_loss_falls(family: str, taught: bool, build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """From that of a network that knows nothing to well below, on labels and on a teacher's distributions."""
    teacher = build(family, seed=1) if taught else None
    if teacher is not None:  # a fresh network says the same of all tokens: nothing to learn
        torch.nn.init.normal_(teacher.get_input_embeddings().weight)
    settings = SETTINGS.model_copy(update={"epochs": 12})
    standing = teach(build(family), mixture, Examiner(*range(12)), tmp_path, settings=settings, teacher=teacher)
    losses = [row["train_loss"] for row in standing.history]

    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_keeps_float32_weights(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Autocast computes in bf16: the loss is near, not equal; what is kept and shipped is float32."""
    exact = teach(build(), mixture, Examiner(1, 2, 3), tmp_path / "exact")
    network = build()
    rough = teach(network, mixture, Examiner(1, 2, 3), tmp_path / "rough", precision="bf16")
    losses = [standing.history[0]["train_loss"] for standing in (rough, exact)]

    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] != losses[1]


def test_a_diverged_training_is_told(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """A loss that is no number ends the training with the rate to lower, instead of an endless nan."""
    network = build()
    torch.nn.init.constant_(network.get_input_embeddings().weight, float("nan"))

    with pytest.raises(TrainingError, match=r"loss is nan at step \d+.*lower the learning rate \(now"):
        teach(network, mixture, Examiner(1, 2, 3), tmp_path)


def test_whoever_listens_hears_of_every_round(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """The parts add up to the whole; notes tell loss and dev score."""
    listener = TeacherLogprobScorer()
    teach(build(), replace(mixture, rounds_per_epoch=2), Examiner(1, 2, 3.456), tmp_path, advance=listener)

    assert sum(listener.amounts) == pytest.approx(6)
    assert listener.notes[1].startswith("loss ")
    assert listener.notes[-1] == "dev fit 3.46"


def test_nothing_of_a_training_is_left_over(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """One checkpoint and the best weights."""
    teach(build(), mixture, Examiner(1, 2, 0), tmp_path)

    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["best", "checkpoint"]


def test_a_student_nobody_lets_write_is_refused(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """The message says which round asked for how many texts, and what is missing."""
    mixture = replace(mixture, shares={"student": 1.0})
    with pytest.raises(
        ObjectiveError, match=r"round 0 teaches 8 texts of the student Bart.* give train\(\) sample_student"
    ):
        teach(build(), mixture, Examiner(), tmp_path)


def test_distributions_without_a_teacher_are_refused(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """The message names the objective."""
    network = build()
    goal = TrainSpec(BoundObjective(OBJECTIVES["forward_kl"], {}), None, 9, Examiner(), "fit", higher_is_better=True)
    with pytest.raises(ObjectiveError, match="forward_kl compares with a teacher's logits; give it a teacher"):
        train(
            network, mixture, goal, settings=SETTINGS, seed=3, precision="float32", pad=0, folder=tmp_path,
            advance=TeacherLogprobScorer(),
        )  # fmt: skip


def test_the_students_texts_find_their_sources(build: Build, mixture: Mixture) -> None:
    """Each lesson of the student is taught the texts that were written for its own source."""

    def write(student: PreTrainedModel, lessons: Sequence[TrainItem], number: int) -> StudentSamples:
        texts = TokenArrays.of([[lesson.source, copy, number] for lesson in reversed(lessons) for copy in lesson.rows])
        return StudentSamples(texts, [(2 * place, 2 * place + 1) for place in reversed(range(len(lessons)))], {})

    mixture = replace(mixture, shares={"teacher": 1.0, "student": 1.0}, targets_per_source=2)
    lessons, texts, _ = _lessons_of_round(build(), mixture, 4, 0, None, write)
    own = [lesson for lesson in lessons if lesson.generator == "student"]

    assert len(own) == 4
    for lesson in own:
        assert [texts["student"][row].tolist() for row in lesson.rows] == [[lesson.source, 0, 4], [lesson.source, 1, 4]]


@pytest.mark.parametrize(("schedule", "at_half", "at_end"), [("linear", 0.5, 0.1), ("constant", 1.0, 1.0)])
def test_the_rate_rises_then_keeps_its_schedule(schedule: str, at_half: float, at_end: float) -> None:
    """By step while it warms up, by the share of training done after that; never above its peak, never zero."""
    optimizer = torch.optim.SGD([torch.zeros(1)])
    settings = Training.model_validate({"learning_rate": 1, "warmup_steps": 4, "schedule": schedule})
    rates = []
    for step, done in [(0, 0.0), (1, 0.01), (3, 0.0), (50, 0.5), (90, 0.9)]:
        _set_rate(optimizer, settings, step, done)
        rates.append(optimizer.param_groups[0]["lr"])

    assert rates == pytest.approx([0.25, 0.5, 1.0, at_half, at_end])


def test_the_rate_falls_over_the_whole_training(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """With one step an epoch, the fifth of five is taken at a fifth of the peak; the first is the same for both."""
    moves = {}
    for schedule in ("linear", "constant"):
        examiner = Examiner(*range(6))
        settings = SETTINGS.model_copy(update={"epochs": 5, "batch_tokens": 10_000, "schedule": schedule})
        teach(build(), mixture, examiner, tmp_path / schedule, settings=settings, judge_start=True)
        moves[schedule] = [float((after - before).abs().mean()) for before, after in pairwise(examiner.seen)]

    assert moves["linear"][0] == moves["constant"][0]
    assert moves["linear"][4] == pytest.approx(moves["constant"][4] / 5, rel=0.5)
