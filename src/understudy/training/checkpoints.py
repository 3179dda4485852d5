"""What lets a training go on after a kill: weights, optimizer, and where it stood.

No random state: dropout is seeded by the step, the plan by the round.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel

from understudy.store.disk import publish, read_json, write_json

STATE = "standing.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"
AVERAGE = "average.safetensors"


@dataclass
class TrainState:
    """How far a training has come. Saved whole with every checkpoint."""

    round: int = 0
    batch: int = 0
    """Micro-batches done in this round."""
    batches: int = 0
    """Micro-batches this round has."""
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    """Dev score of the weights put aside: the best so far, or the latest where those are kept."""
    best_step: int = 0
    evals_without_improvement: int = 0
    """Looks at dev since the best one."""
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per look at dev."""
    loss_sum: float = 0.0
    """Since the last look at dev, in nats."""
    positions: int = 0
    done: float = 0.0
    """Share of the training that was done before the step under way."""
    schedule_state: dict[str, float] = field(default_factory=dict)
    """Of what changes while the training goes on."""

    @property
    def loss(self) -> float:
        """Mean since the last look at dev, in nats per target position."""
        return self.loss_sum / max(1, self.positions)

    def progress_at(self, rounds: int) -> float:
        """How much of a training of so many rounds is done now."""
        return (self.round + self.batch / max(1, self.batches)) / rounds

    def row(self) -> dict[str, float]:
        """What history keeps beside the dev scores."""
        return {"step": self.step, "round": self.round, "seconds": round(self.seconds, 2), "train_loss": self.loss}


@dataclass(frozen=True)
class Learner:
    """What a training changes, and a checkpoint therefore holds beside the standing."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None = field(default=None, kw_only=True)
    """The mean of the weights that counted so far, where a mean is what is kept."""


def save(learner: Learner, folder: Path, standing: TrainState) -> None:
    """Writes a checkpoint whole, then forgets the ones before it and the weights no checkpoint calls best."""
    name = f"checkpoint-{standing.step:08d}-{standing.round:06d}-{len(standing.history):06d}"
    if (folder / name).exists():
        return
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_model(learner.accelerator.unwrap_model(learner.model), str(partial / WEIGHTS))  # tied weights once
    if learner.averaged:
        save_model(learner.averaged, str(partial / AVERAGE))
    with (partial / OPTIMIZER).open("wb") as file:  # given a path, torch would hide the system's error
        torch.save(learner.optimizer.state_dict(), file)
    write_json(partial / STATE, asdict(standing))
    publish(partial, folder / name)
    for older in folder.glob("checkpoint-*"):
        if older.name != name:
            shutil.rmtree(older)
    for weights in folder.glob("best-*"):
        if weights != _best_folder(folder, standing):
            shutil.rmtree(weights)


def resume(learner: Learner, folder: Path) -> TrainState:
    """Loads the last whole checkpoint, if there is one."""
    whole = sorted(path for path in folder.glob("checkpoint-*") if path.suffix != ".partial")
    if not whole:
        return TrainState()
    load_model(learner.accelerator.unwrap_model(learner.model), str(whole[-1] / WEIGHTS))
    if learner.averaged:
        load_model(learner.averaged, str(whole[-1] / AVERAGE))
    moments = torch.load(whole[-1] / OPTIMIZER, map_location=learner.accelerator.device, weights_only=True)
    learner.optimizer.load_state_dict(moments)
    return TrainState(**read_json(whole[-1] / STATE))  # type: ignore[arg-type]  # written by `save`


def keep_best(model: nn.Module, folder: Path, standing: TrainState) -> None:
    """Puts these weights aside, to be kept unless others are; the checkpoint that names them comes after."""
    best = _best_folder(folder, standing)
    best.mkdir(exist_ok=True)
    save_model(model, str(best / WEIGHTS))


def load_best(model: nn.Module, folder: Path, standing: TrainState) -> None:
    """Gives the network the weights that were put aside last."""
    load_model(model, str(_best_folder(folder, standing) / WEIGHTS))


def _best_folder(folder: Path, standing: TrainState) -> Path:
    return folder / f"best-{standing.best_step:08d}"
