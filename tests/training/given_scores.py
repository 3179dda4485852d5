"""A training whose dev scores are given, for the tests of the loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tests.training.contexts import CPU, make_spec
from torch import Tensor
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.progress import NO_PROGRESS, NO_VALUES, ProgressCallback, Values
from understudy.training.loop import train
from understudy.training.mixture import Mixture
from understudy.training.spec import DEV_LOSS, DevScoring
from understudy.training.state import TrainState
from understudy.training.step import AutocastPrecision

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(learning_rate=1e-2, epochs=3, batch_tokens=120, warmup_steps=0)


def weights(network: PreTrainedModel) -> Tensor:
    """All weights, flat."""
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


class GivenScores:
    """Returns the given dev scores in order, perhaps with dev losses, and records the weights it scored."""

    def __init__(self, *scores: float, losses: Sequence[float] = ()) -> None:
        self.scores, self.losses, self.weights = list(scores), losses, list[Tensor]()

    def __call__(self, network: PreTrainedModel) -> Mapping[str, float]:
        """One evaluation on dev."""
        self.weights.append(weights(network))
        at = len(self.weights) - 1
        return {"fit": self.scores[at], **({DEV_LOSS: self.losses[at]} if self.losses else {})}


class RecordedProgress:
    """Records amounts and notes."""

    def __init__(self) -> None:
        self.amounts, self.notes = list[float](), list[str]()

    def __call__(self, amount: float, note: str = "", values: Values = NO_VALUES) -> None:
        """Records one call."""
        self.amounts.append(amount)
        self.notes.append(note)


def train_on(
    network: PreTrainedModel,
    mixture: Mixture,
    scores: GivenScores,
    folder: Path,
    *,
    settings: Training = SETTINGS,
    teacher: PreTrainedModel | None = None,
    progress: ProgressCallback = NO_PROGRESS,
    precision: AutocastPrecision = "float32",
    higher_is_better: bool = True,
    evaluate_start: bool = False,
) -> TrainState:
    """A training on gold and teacher texts."""
    dev = DevScoring(scores, "fit", higher_is_better=higher_is_better, evaluate_start=evaluate_start)
    spec = replace(make_spec(network, teacher), dev=dev)
    folder.mkdir(exist_ok=True)
    return train(
        network, mixture, spec, settings=settings, seed=3, precision=precision, device=CPU, pad=0, folder=folder,
        progress=progress,
    )  # fmt: skip
