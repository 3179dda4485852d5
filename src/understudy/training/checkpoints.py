"""Checkpoints of a training: weights, optimizer, averaged weights and state, and the weights to keep.

Only weights that training changes are in them: with a LoRA adapter a few percent of all.
A training that is interrupted anywhere resumes from the last complete checkpoint. Checkpoints have checksums: damaged
weights would load without an error and train another network.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from understudy.errors import StoreError
from understudy.store.disk import checksum, publish
from understudy.store.manifest import read_checked, write_checked
from understudy.training.state import TrainState

STATE = "state.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"
AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class Checkpointable:
    """The tensors that training changes, which a checkpoint holds in addition to the state."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None = field(default=None, kw_only=True)
    """The running mean of the weights, where the mean is kept."""


def save_checkpoint(objects: Checkpointable, folder: Path, state: TrainState) -> None:
    """Writes a complete checkpoint, then deletes earlier ones and kept weights that the state no longer names."""
    name = f"checkpoint-{state.step:08d}-{state.round:06d}-{len(state.history):06d}"
    if (folder / name).exists():
        return
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file(_trained(objects.model), partial / WEIGHTS)
    if objects.averaged:
        save_file(_trained(objects.averaged), partial / AVERAGE)
    with (partial / OPTIMIZER).open("wb") as file:  # given a path, torch would hide the system's error
        torch.save(objects.optimizer.state_dict(), file)
    kept = _best_folder(folder, state) / WEIGHTS
    files = {str(path.relative_to(folder)).replace(partial.name, name): checksum(path) for path in partial.iterdir()}
    if kept.exists():
        files[str(kept.relative_to(folder))] = checksum(kept)
    write_checked(partial / STATE, {"state": asdict(state), "files": files})
    publish(partial, folder / name)
    for earlier in folder.glob("checkpoint-*"):
        if earlier.name != name:
            shutil.rmtree(earlier)
    for weights in folder.glob("best-*"):
        if weights != _best_folder(folder, state):
            shutil.rmtree(weights)


def load_checkpoint(objects: Checkpointable, folder: Path, *, ranks: int = 1) -> TrainState:
    """Resumes from the last complete checkpoint, loaded into the objects; without one, the state is that of a start.

    Raises:
        StoreError: if that checkpoint, or the weights to keep that it names, are damaged, or if another number of ranks
            wrote it.
    """
    complete = sorted(path for path in folder.glob("checkpoint-*") if path.suffix != ".partial")
    if not complete:
        return TrainState(ranks=ranks)
    state = _verified_state(complete[-1])
    if state.ranks != ranks:
        raise StoreError(
            f"the checkpoint {complete[-1]} is of a training on {_processes(state.ranks)}, and this run has "
            f"{_processes(ranks)}, which would sum gradients in another order; resume with {_processes(state.ranks)}, "
            f"or delete the folder {folder} to start this training again"
        )
    _load(objects.model, complete[-1] / WEIGHTS)
    if objects.averaged:
        _load(objects.averaged, complete[-1] / AVERAGE)
    device = next(objects.model.parameters()).device
    optimizer_state = torch.load(complete[-1] / OPTIMIZER, map_location=device, weights_only=True)
    objects.optimizer.load_state_dict(optimizer_state)
    return state


def _processes(ranks: int) -> str:
    return "1 rank" if ranks == 1 else f"{ranks} ranks (torchrun)"


def _verified_state(checkpoint: Path) -> TrainState:
    try:
        record: Any = read_checked(checkpoint / STATE)
        state, files = TrainState(**record["state"]), record["files"]
        damaged = [name for name, expected in files.items() if checksum(checkpoint.parent / name) != expected]
    except (OSError, KeyError, TypeError) as error:
        damaged = [str(error)]
    if damaged:
        raise StoreError(
            f"the checkpoint {checkpoint} is damaged: {damaged[0]} is not as it was written; delete the folder "
            f"{checkpoint} and run the recipe again, which starts this training again and keeps all finished stages"
        )
    return state


def save_best(model: nn.Module, folder: Path, state: TrainState) -> None:
    """Saves the weights to keep; earlier ones stay until a checkpoint names these."""
    best = _best_folder(folder, state)
    best.mkdir(exist_ok=True)
    save_file(_trained(model), best / WEIGHTS)


def load_best(model: nn.Module, folder: Path, state: TrainState) -> None:
    """Loads the weights to keep into the network."""
    _load(model, _best_folder(folder, state) / WEIGHTS)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that are not frozen, tied ones once, and buffers."""
    changing = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    changing |= {name for name, _ in model.named_buffers()}
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name in changing}


def _load(model: nn.Module, path: Path) -> None:
    model.load_state_dict(load_file(path), strict=False)  # what is not in the file is frozen, or tied to what is


def _best_folder(folder: Path, state: TrainState) -> Path:
    return folder / f"best-{state.best_step:08d}"
