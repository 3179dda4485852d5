import errno
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.errors import StoreError
from understudy.training.checkpoints import Checkpointable, load_best, load_checkpoint, save_best, save_checkpoint
from understudy.training.state import TrainState

WIDTH = 64


class SmallTraining:
    """A linear layer with an optimizer that has moments, and the folder of its checkpoints."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Linear(WIDTH, WIDTH)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.folder = folder
        self.objects = Checkpointable(self.model, self.optimizer)

    def step(self) -> None:
        """One update."""
        torch.autograd.backward(self.model(torch.ones(1, WIDTH)).square().sum())
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, state: TrainState) -> None:
        """Saves a checkpoint."""
        save_checkpoint(self.objects, self.folder, state)

    def load(self) -> TrainState:
        """Loads the last one."""
        return load_checkpoint(self.objects, self.folder)


def names(folder: Path) -> set[str]:
    """File names of a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_checkpoint_restores_weights_optimizer_and_state(tmp_path: Path) -> None:
    """Weights, moments and state are back: the next step is the same."""
    before, after = SmallTraining(tmp_path), SmallTraining(tmp_path, seed=1)
    before.step()
    history = [{"step": 1, "bleu": 1 / 3}]
    state = TrainState(round=2, batch=3, step=1, best_score=0.1 + 0.2, history=history, loss_sum=1e-7)
    before.save(state)

    assert after.load() == state
    before.step()
    after.step()
    assert torch.equal(before.model.weight, after.model.weight)


def test_without_a_checkpoint_training_starts_from_the_beginning(tmp_path: Path) -> None:
    """The state is the initial one, and the weights are unchanged."""
    training, untouched = SmallTraining(tmp_path), SmallTraining(tmp_path)

    assert training.load() == TrainState()
    assert torch.equal(training.model.weight, untouched.model.weight)


def test_a_partial_checkpoint_is_ignored(tmp_path: Path) -> None:
    """An interruption while saving leaves the previous checkpoint; the next save deletes the partial one."""
    training = SmallTraining(tmp_path)
    training.save(TrainState(step=1))
    (tmp_path / "checkpoint-00000002-000000-000000.partial").mkdir()

    assert training.load().step == 1
    training.save(TrainState(step=2))
    assert training.load().step == 2
    assert names(tmp_path) == {"checkpoint-00000002-000000-000000"}


def test_the_latest_checkpoint_is_loaded(tmp_path: Path) -> None:
    """By step, then round, then evaluations, if an interruption left two."""
    training = SmallTraining(tmp_path)
    latest = TrainState(step=10, round=1, history=[{"step": 10}])
    training.save(latest)
    kept = tmp_path / "checkpoint-00000010-000001-000001"
    for name in ("checkpoint-00000009-000009-000009", "checkpoint-00000010-000000-000000"):
        (tmp_path / name).mkdir()

    assert kept.is_dir()
    assert training.load() == latest


def test_the_best_weights_are_restored(tmp_path: Path) -> None:
    """Those of the best evaluation, however long training continued."""
    training = SmallTraining(tmp_path)
    state = TrainState(step=1, best_score=1.0, best_step=1)
    save_best(training.model, tmp_path, state)
    best = training.model.weight.detach().clone()
    training.step()
    load_best(training.model, tmp_path, state)

    assert torch.equal(training.model.weight, best)


def test_earlier_best_weights_are_deleted_after_the_next_checkpoint(tmp_path: Path) -> None:
    """Not before the checkpoint that names the new ones is complete: until then a resumed run needs the old ones."""
    training = SmallTraining(tmp_path)
    for step in (1, 2):
        save_best(training.model, tmp_path, TrainState(best_step=step))
    assert names(tmp_path) == {"best-00000001", "best-00000002"}

    training.save(TrainState(step=2, best_step=2))
    assert names(tmp_path) == {"best-00000002", "checkpoint-00000002-000000-000000"}


def flipped(path: Path) -> None:
    """One bit of the last byte: safetensors and torch would load it."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "state.json", "best"])
@pytest.mark.parametrize("damage", [flipped, Path.unlink, Path.touch])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    """The message names the folder to delete; after that the training starts again. A new time is no damage."""
    training, state = SmallTraining(tmp_path), TrainState(step=1, best_step=1, best_score=0.5)
    training.step()
    save_best(training.model, tmp_path, state)
    training.save(state)
    checkpoint = tmp_path / "checkpoint-00000001-000000-000000"
    damage(tmp_path / "best-00000001" / "weights.safetensors" if name == "best" else checkpoint / name)
    if damage is Path.touch:
        assert training.load() == state
        return

    with pytest.raises(
        StoreError, match=rf"{checkpoint} is damaged.*delete the folder {checkpoint} and run the recipe"
    ):
        training.load()
    shutil.rmtree(checkpoint)
    assert training.load() == TrainState()


def test_the_loss_is_a_mean_over_positions() -> None:
    """In nats per target position; zero before the first."""
    assert TrainState().loss == 0
    assert TrainState(loss_sum=6.0, positions=4).history_row()["train_loss"] == 1.5


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Within, no file of this process can exceed `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_save_raises_the_error_of_the_system(tmp_path: Path) -> None:
    """The moments, twice the size of the weights, exceed the limit; torch's error carries the OSError."""
    training = SmallTraining(tmp_path)
    training.step()
    with file_size_limit(int(1.5 * 4 * WIDTH * WIDTH)), pytest.raises(RuntimeError, match="unexpected pos") as caught:
        training.save(TrainState(step=1))

    assert isinstance(caught.value.__context__, OSError)
    assert caught.value.__context__.errno == errno.EFBIG
    assert training.load() == TrainState()
