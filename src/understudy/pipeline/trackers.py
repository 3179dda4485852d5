"""Experiment trackers that a run may send its measurements to. To add one, add a function and an entry in `TRACKERS`.

Each entry imports its library when it is used; all come with the extra `trackers`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from understudy.config.recipe import TrackerName
from understudy.errors import ConfigError
from understudy.progress import Values

Track = Callable[[str, Values], None]
"""Sends the values of a piece of work, given its title."""
STEP = "step"
PROJECT = "understudy"


@contextmanager
def tensorboard(folder: Path) -> Iterator[Track]:
    """Event files in the run's folder."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def track(title: str, values: Values) -> None:
            for name, value in _scalars(title, values).items():
                writer.add_scalar(name, value, _step(values))

        yield track


@contextmanager
def wandb(folder: Path) -> Iterator[Track]:
    """A run of Weights & Biases. Steps start again with each training, which it refuses: they are ordinary values."""
    import wandb as library

    with library.init(project=PROJECT, name=folder.name, dir=str(folder)) as run:
        yield lambda title, values: run.log({**_scalars(title, values), f"{title}/{STEP}": _step(values)})


@contextmanager
def mlflow(folder: Path) -> Iterator[Track]:
    """A run of MLflow, in the experiment `understudy`."""
    import mlflow as library

    library.set_experiment(PROJECT)
    with library.start_run(run_name=folder.name):
        yield lambda title, values: library.log_metrics(_plain_names(_scalars(title, values)), step=_step(values))


@contextmanager
def trackio(folder: Path) -> Iterator[Track]:
    """A run of trackio."""
    import trackio as library

    library.init(project=PROJECT, name=folder.name)
    try:
        yield lambda title, values: library.log({**_scalars(title, values), f"{title}/{STEP}": _step(values)})
    finally:
        library.finish()


class Tracker(NamedTuple):
    """How a tracker is opened, and the package that it needs."""

    open: Callable[[Path], AbstractContextManager[Track]]
    package: str


TRACKERS: dict[TrackerName, Tracker] = {
    "tensorboard": Tracker(tensorboard, "tensorboard"),
    "wandb": Tracker(wandb, "wandb"),
    "mlflow": Tracker(mlflow, "mlflow"),
    "trackio": Tracker(trackio, "trackio"),
}


def tracking(name: TrackerName, folder: Path) -> AbstractContextManager[Track]:
    """The tracker of a run.

    Args:
        name: a key of `TRACKERS`.
        folder: the run's, whose name the tracker shows.

    Raises:
        ConfigError: if its package is not installed.
    """
    require_tracker(name)
    return TRACKERS[name].open(folder)


def require_tracker(name: TrackerName) -> None:
    """Refuses a tracker whose package is not installed.

    Raises:
        ConfigError: naming the package.
    """
    package = TRACKERS[name].package
    if find_spec(package) is None:
        raise ConfigError(
            f"tracker {name!r} needs the package {package}, which is not installed; pip install {package}, or remove "
            "the setting: progress.jsonl in the run's folder holds the same numbers"
        )


def _scalars(title: str, values: Values) -> dict[str, float]:
    return {f"{title}/{name}": value for name, value in values.items() if name != STEP}


def _plain_names(scalars: dict[str, Any]) -> dict[str, float]:
    # MLflow allows letters, digits and a few signs in the names of metrics.
    return {"".join(c if c.isalnum() or c in "_-. /" else "_" for c in name): value for name, value in scalars.items()}


def _step(values: Values) -> int:
    return int(values.get(STEP, 0))
