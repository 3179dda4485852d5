import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from understudy.training.checkpoints import Learner, TrainState, keep_best, load_best, resume, save

WIDTH = 64


class Desk:
    """A small model with an optimizer that has a memory, and where they are kept."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.accelerator = Accelerator()
        self.model = self.accelerator.prepare(nn.Linear(WIDTH, WIDTH))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.folder = folder
        self.learner = Learner(self.accelerator, self.model, self.optimizer)

    def step(self) -> None:
        """One update."""
        torch.autograd.backward(self.model(torch.ones(1, WIDTH, device=self.accelerator.device)).square().sum())
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, standing: TrainState) -> None:
        """Writes a checkpoint."""
        save(self.learner, self.folder, standing)

    def resume(self) -> TrainState:
        """Reads the last one."""
        return resume(self.learner, self.folder)


def names(folder: Path) -> set[str]:
    """What lies in the folder."""
    return {path.name for path in folder.iterdir()}


def test_a_training_goes_on_where_it_stood(tmp_path: Path) -> None:
    """Weights, the optimizer's memory and the standing are back: the next step is the same."""
    before, after = Desk(tmp_path), Desk(tmp_path, seed=1)
    before.step()
    standing = TrainState(round=2, batch=3, step=1, best=0.1 + 0.2, history=[{"step": 1, "bleu": 1 / 3}], loss_sum=1e-7)
    before.save(standing)

    assert after.resume() == standing
    before.step()
    after.step()
    assert torch.equal(before.model.weight, after.model.weight)


def test_without_a_checkpoint_a_training_begins(tmp_path: Path) -> None:
    """The standing is that of the start, and the weights are left alone."""
    desk, untouched = Desk(tmp_path), Desk(tmp_path)

    assert desk.resume() == TrainState()
    assert torch.equal(desk.model.weight, untouched.model.weight)


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    """A kill while saving leaves the checkpoint before; the next save sweeps the half one away."""
    desk = Desk(tmp_path)
    desk.save(TrainState(step=1))
    (tmp_path / "checkpoint-00000002-000000-000000.partial").mkdir()

    assert desk.resume().step == 1
    desk.save(TrainState(step=2))
    assert desk.resume().step == 2
    assert names(tmp_path) == {"checkpoint-00000002-000000-000000"}


def test_the_latest_checkpoint_counts(tmp_path: Path) -> None:
    """By step, then round, then looks at dev, should a kill have left two."""
    desk = Desk(tmp_path)
    latest = TrainState(step=10, round=1, history=[{"step": 10}])
    desk.save(latest)
    kept = tmp_path / "checkpoint-00000010-000001-000001"
    for name in ("checkpoint-00000009-000009-000009", "checkpoint-00000010-000000-000000"):
        (tmp_path / name).mkdir()

    assert kept.is_dir()
    assert desk.resume() == latest


def test_the_best_weights_come_back(tmp_path: Path) -> None:
    """Those of the best look, however long training went on."""
    desk = Desk(tmp_path)
    standing = TrainState(step=1, best=1.0, best_step=1)
    keep_best(desk.model, tmp_path, standing)
    best = desk.model.weight.detach().clone()
    desk.step()
    load_best(desk.model, tmp_path, standing)

    assert torch.equal(desk.model.weight, best)


def test_weights_no_checkpoint_calls_best_are_forgotten(tmp_path: Path) -> None:
    """Only once the checkpoint that names better ones is whole: until then a kill needs the old ones."""
    desk = Desk(tmp_path)
    for step in (1, 2):
        keep_best(desk.model, tmp_path, TrainState(best_step=step))
    assert names(tmp_path) == {"best-00000001", "best-00000002"}

    desk.save(TrainState(step=2, best_step=2))
    assert names(tmp_path) == {"best-00000002", "checkpoint-00000002-000000-000000"}


def test_the_loss_is_a_mean_over_positions() -> None:
    """In nats per target position; zero before the first."""
    assert TrainState().loss == 0
    assert TrainState(loss_sum=6.0, positions=4).row()["train_loss"] == 1.5


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Within, no file of this process can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_named(tmp_path: Path) -> None:
    """The optimizer's memory, twice the weights, meets the limit; torch's own error carries the system's."""
    desk = Desk(tmp_path)
    desk.step()
    with small_files(int(1.5 * 4 * WIDTH * WIDTH)), pytest.raises(RuntimeError, match="unexpected pos") as caught:
        desk.save(TrainState(step=1))

    assert isinstance(caught.value.__context__, OSError)
    assert caught.value.__context__.errno == errno.EFBIG
    assert desk.resume() == TrainState()
