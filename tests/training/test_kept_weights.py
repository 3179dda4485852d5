"""Which weights a training returns, and when it stops early."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.given_scores import SETTINGS, Build, GivenScores, train_on, weights
from torch import Tensor

from understudy.errors import TrainingError
from understudy.progress import NO_VALUES, Values
from understudy.training.mixture import Mixture


@pytest.mark.parametrize(("values", "higher_is_better"), [((1, 3, 2), True), ((3, 1, 2), False)])
def test_the_best_weights_are_kept(
    values: Sequence[float], higher_is_better: bool, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """Those with the best dev score, in the direction of the metric, not the last."""
    network, scores = build(), GivenScores(*values)
    state = train_on(network, mixture, scores, tmp_path, higher_is_better=higher_is_better)

    assert torch.equal(weights(network), scores.weights[1])
    assert not torch.equal(weights(network), scores.weights[2])
    assert [row["fit"] for row in state.history] == list(values)
    assert state.best_step == state.history[1]["step"]


def test_the_last_weights_are_kept_if_requested(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Whatever their dev score, which is still recorded."""
    network, scores = build(), GivenScores(1, 3, 2)
    settings = SETTINGS.model_copy(update={"keep_weights": "last"})
    state = train_on(network, mixture, scores, tmp_path, settings=settings)

    assert torch.equal(weights(network), scores.weights[2])
    assert not torch.equal(weights(network), scores.weights[1])
    assert [row["fit"] for row in state.history] == [1, 3, 2]
    assert state.best_step == state.history[2]["step"]


def test_the_average_of_late_weights_is_kept_if_requested(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Of those after every step of the last quarter, as numpy computes it; the last evaluation is of the average."""
    network, scores, after = build(), GivenScores(1, 3, 2), list[Tensor]()

    def record(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
        if note.startswith("loss"):
            after.append(weights(network))

    settings = SETTINGS.model_copy(update={"keep_weights": "average", "schedule": "constant", "batch_tokens": 40})
    state = train_on(network, mixture, scores, tmp_path, settings=settings, progress=record)

    last_epoch = state.step - int(state.history[1]["step"])
    averaged = after[-math.ceil(0.75 * last_epoch) :]  # the last quarter of three epochs is 3/4 of the last epoch
    assert 1 < len(averaged) < last_epoch
    np.testing.assert_allclose(weights(network), np.mean(np.stack(averaged), axis=0), rtol=1e-5, atol=1e-7)
    assert torch.equal(weights(network), scores.weights[2])
    assert not torch.equal(weights(network), after[-1])


def test_patience_stops_a_training_early(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """After two evaluations without improvement; an equal score is none, and an improvement restarts the count."""
    network, scores = build(), GivenScores(1, 0, 2, 2, 1, 9, 9)
    settings = SETTINGS.model_copy(update={"epochs": 7, "patience": 2})
    state = train_on(network, mixture, scores, tmp_path, settings=settings)

    assert [row["fit"] for row in state.history] == [1, 0, 2, 2, 1]
    assert torch.equal(weights(network), scores.weights[3])


@pytest.mark.parametrize(
    ("scores", "losses", "kept"),
    [
        ((0, 0, 0, 0), (), 3),
        ((0, 0, 0, 0), (4.0, 2.0, 1.0, 3.0), 2),
        ((0, 0, 0, 0), (1.0, 1.0, 1.0, 1.0), 3),
        ((5, 7, 7, 6), (1.0, 3.0, 2.0, 0.5), 2),
        ((5, 7, 7, 6), (1.0, 2.0, 3.0, 0.5), 1),
    ],
)
def test_equal_scores_keep_the_lower_loss_or_the_later_weights(
    scores: Sequence[float], losses: Sequence[float], kept: int, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """A metric that is the same at every look does not throw the training away, not even for the initial weights."""
    network, given = build(), GivenScores(*scores, losses=losses)
    state = train_on(network, mixture, given, tmp_path, evaluate_start=True)

    assert torch.equal(weights(network), given.weights[kept])
    assert state.best_step == state.history[kept]["step"]


def test_patience_counts_a_lower_loss_as_improvement(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """While the score does not move; the training goes on until the loss rises twice."""
    network, scores = build(), GivenScores(0, 0, 0, 0, 0, 0, losses=(5.0, 4.0, 3.0, 3.5, 3.2, 1.0))
    state = train_on(
        network, mixture, scores, tmp_path, settings=SETTINGS.model_copy(update={"epochs": 6, "patience": 2})
    )

    assert len(state.history) == 5
    assert torch.equal(weights(network), scores.weights[2])


def test_a_dev_score_that_is_not_a_number_is_refused(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """It would compare as neither better nor worse."""
    with pytest.raises(TrainingError, match="dev fit is not a number"):
        train_on(build(), mixture, GivenScores(math.nan, 1, 1), tmp_path)


def test_initial_weights_with_the_best_score_are_kept(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Fine-tuning on gold cannot make a student worse on dev."""
    network = build()
    start = weights(network)
    state = train_on(network, mixture, GivenScores(5, 1, 1, 1), tmp_path, evaluate_start=True)

    assert torch.equal(weights(network), start)
    assert (state.best_step, state.history[0]["step"], state.step > 0) == (0, 0, True)


def test_better_weights_replace_the_initial_ones(build: Build, mixture: Mixture, tmp_path: Path) -> None:
    """Fine-tuning on gold changes the student where dev improves."""
    network, scores = build(), GivenScores(1, 2, 0, 0)
    train_on(network, mixture, scores, tmp_path, evaluate_start=True)

    assert torch.equal(weights(network), scores.weights[1])
    assert not torch.equal(scores.weights[1], scores.weights[0])
