"""What a run's folder records of the run: its stages, its store and its recipe. Loads no torch.

`delivery` writes it; whoever opens a run or cleans the store reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import StoreError
from understudy.store.disk import checksum
from understudy.store.inventory import Need
from understudy.store.manifest import CLOSED, parse, read_checked, write_checked
from understudy.store.stage import Stage

STAGES = "stages.json"
PLANNED = ".planned.json"
"""The stages of a run that is not finished, so that they are not taken for stages that no run needs."""
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says of the run."""

    __pydantic_config__ = CLOSED

    stages: tuple[tuple[str, str], ...]
    """Label and folder in the store, in the order in which they are needed; also of stages that were deleted, so that
    whoever needs one can say which."""
    student: str
    """The folder of the stage that holds the delivered student."""
    store: str
    """The store, relative to the run's folder."""
    made: tuple[str, ...]
    """Keys of the stages that the run made itself; the others were reused."""
    recipe: str
    """The sha256 of the recipe's file."""
    checks: tuple[str, ...] = ()
    """The folders of the checks that were made before the first training; a record of an earlier version has none."""


def write_planned(path: Path, stages: Iterable[Stage[Any]]) -> None:
    """Records the stages that unfinished work is going to need, by their folders."""
    write_checked(path, {stage.key: stage.folder_name for stage in stages})


def read_record(folder: Path) -> RunRecord:
    """What the folder of a finished run says of it.

    Raises:
        StoreError: if the folder holds no finished run, or its record or recipe was changed.
    """
    if not (folder / STAGES).is_file():
        raise StoreError(f"{folder} holds no finished run ({STAGES} is missing); give a folder such as runs/demo")
    record = _recorded(folder)
    try:
        unchanged = checksum(folder / RECIPE_FILE) == record.recipe
    except OSError as error:
        raise _damaged(folder, error) from error
    if not unchanged:
        raise StoreError(
            f"{folder / RECIPE_FILE} was changed after the run and is not its recipe any more; run the recipe again, "
            "which writes it again"
        )
    return record


def needed_by_runs(out: Path) -> dict[str, Need]:
    """The stages that each run in a folder of runs needs, finished or interrupted.

    Raises:
        StoreError: if the record of a run is damaged.
    """
    needed: dict[str, Need] = {}
    for path in out.glob(f"*/{STAGES}"):
        record = _recorded(path.parent)
        needed[path.parent.name] = Need({name for _, name in record.stages} | set(record.checks))
    for path in out.glob(f"*/{PLANNED}"):
        need = needed.setdefault(path.parent.name, Need())
        need.stages |= set(map(str, read_checked(path).values()))
        need.interrupted = True
    return needed


def _recorded(folder: Path) -> RunRecord:
    try:
        return parse(RunRecord, read_checked(folder / STAGES), folder)
    except (OSError, StoreError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> StoreError:
    """The error for a record that cannot be read, whichever command reads it."""
    reason = isinstance(error, OSError) and error.strerror
    return StoreError(
        f"the record of the run in {folder} is damaged ({STAGES} or {RECIPE_FILE} cannot be read: "
        f"{reason or 'it is not as it was written'}); run the recipe again, which writes both again"
    )
