"""One cell of a study, made once, whoever makes it.

A cell's record, `cells/<cell>.json`, says which recipe it was made by and where its row lies, or why there is
none. A lock beside it is held by the process that makes it.
"""

import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

from understudy.config.model_sections import EndpointTeacher, PretrainedStudent, PretrainedTeacher
from understudy.config.recipe import Recipe
from understudy.config.study import Cell
from understudy.config.task import FilesTask, HubTask, Splits
from understudy.errors import ConfigError, StoreError, UnderstudyError, first_line
from understudy.pipeline.bench import STORE, Bench, fast_precision
from understudy.pipeline.networks import identity
from understudy.pipeline.run import learn
from understudy.progress import Progress
from understudy.store import Finished, Store
from understudy.store.disk import checksum, read_json, write_json, write_text
from understudy.store.stages import claim, content_key, open_stage
from understudy.study.cell_scores import Measured, make_row, read_row

CELLS = "cells"

Attempt = Literal["found", "tried", "busy"]
"""There was nothing to do, something was done now, or another process is doing it."""


@dataclass(frozen=True)
class StudyPaths:
    """Where a study lies: its own files, and beside them the store that it shares with runs and other studies."""

    out: Path
    name: str

    @property
    def folder(self) -> Path:
        """Of the study's own files."""
        return self.out / self.name

    @property
    def store(self) -> Path:
        """Of the stages."""
        return self.out / STORE

    def record(self, cell: Cell) -> Path:
        """What became of a cell."""
        return self.folder / CELLS / f"{cell.recipe.name}.json"

    def lock(self, cell: Cell) -> Path:
        """Held by the process that makes a cell."""
        return self.folder / CELLS / f".{cell.recipe.name}.lock"


def attempt(cell: Cell, place: StudyPaths, progress: Progress, *, since: float) -> Attempt:
    """Makes a cell, unless it is made, another process is at it, or one tried it in vain after `since`.

    Whatever goes wrong is recorded, and the study goes on: a cell that needs more memory than there is must not keep
    others from being made.

    Args:
        cell: what to make.
        place: where.
        progress: hears about it.
        since: seconds since the epoch; a failure before is tried again.
    """
    with claim(place.lock(cell)) as held:
        if not held:
            return "busy"
        if row_of(cell, place):
            return "found"
        record = _record(cell, place)
        if "error" in record and cast(float, record["tried"]) >= since:
            return "found"
        progress.log(f"{cell.task}, {cell.row.name}, seed {cell.seed}")
        record = {"key": key_of(cell.recipe), "tried": time.time()}
        try:
            row, seconds = _make(cell.recipe, place, progress)
            record |= {"stage": row.folder.name, "seconds": seconds}
        except Exception as error:  # noqa: BLE001 - see above
            said = str(error) if isinstance(error, UnderstudyError) else _traced(error, place.record(cell))
            progress.log(f"{cell.task}, {cell.row.name}, seed {cell.seed} failed: {said}")
            record |= {"error": said, "tried": time.time()}
        write_json(place.record(cell), record)
        return "tried"


def wait_for(cell: Cell, place: StudyPaths) -> None:
    """Returns when no process is making the cell."""
    with claim(place.lock(cell), wait=True):
        pass


def row_of(cell: Cell, place: StudyPaths) -> Finished | None:
    """The row of a finished cell; none where it is not made, or was made by another recipe or from other files."""
    record = _record(cell, place)
    if "stage" not in record or record["key"] != key_of(cell.recipe):
        return None
    try:
        return open_stage(place.store / str(record["stage"]))
    except StoreError:  # somebody emptied the store: the cell is made anew
        return None


def measured(cell: Cell, place: StudyPaths) -> Measured | None:
    """What a finished cell says; none where it is not finished."""
    row = row_of(cell, place)
    if row is None:
        return None
    return read_row(row, cell, seconds=cast(float, _record(cell, place)["seconds"]))


def failure_of(cell: Cell, place: StudyPaths) -> str:
    """Why a cell could not be made, as a sentence; empty where it was made or never tried."""
    return str(_record(cell, place).get("error", ""))


def key_of(recipe: Recipe) -> str:
    """What a recipe's result is determined by: its settings, and the contents of the files it names."""
    named: list[object] = []
    if isinstance(recipe.task, FilesTask):
        files = recipe.task.files
        paths = [path for _, path in files if path] if isinstance(files, Splits) else [files.kd4gen]
        named += [_content(path) for path in paths if path.is_file()]
    if isinstance(recipe.task, HubTask) and Path(recipe.task.hub.dataset).is_dir():
        named.append(_content(Path(recipe.task.hub.dataset)))
    if isinstance(recipe.teacher, EndpointTeacher) and (own_answers := recipe.teacher.endpoint.recorded):
        named += [_content(own_answers)] if own_answers.is_file() else []
    for own in (recipe.teacher, recipe.student):
        if isinstance(own, PretrainedTeacher | PretrainedStudent) and Path(own.model).is_dir():
            named.append(_content(Path(own.model)))
    return content_key({"recipe": recipe.model_dump(mode="json"), "named": named})


def _make(recipe: Recipe, place: StudyPaths, progress: Progress) -> tuple[Finished, float]:
    """The row, and the seconds that the student and its answers took."""
    if isinstance(recipe.task, FilesTask) and not recipe.task.has_labels:
        raise ConfigError(
            "a study tells how much of the gap between a fine-tuned student and the teacher is closed, and task.files "
            "has no labeled file to fine-tune one on; give one (a few hundred labels will do), or use understudy run"
        )
    bench = Bench(recipe, Store(place.store, wait=True), progress, fast_precision(recipe.precision))
    learned = learn(bench)
    method = recipe.distil.method
    # Beside the method's own stage there may be earlier generations and a last lesson on gold.
    own = [
        stage for name, stage in learned.stages.items() if f"{name}_".startswith((f"{method}_", f"answers_{method}_"))
    ]
    return make_row(bench, learned), round(sum(stage.manifest.seconds for stage in own), 3)


def _traced(error: Exception, record: Path) -> str:
    """A sentence for an error that has none of ours, after its traceback was written to a file."""
    trace = record.with_suffix(".traceback.txt")
    write_text(trace, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {first_line(error)}; its traceback is in {trace}"


def _record(cell: Cell, place: StudyPaths) -> dict[str, object]:
    path = place.record(cell)
    return read_json(path) if path.is_file() else {}


def _content(path: Path) -> object:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return _read(path, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache  # a study asks for each of its few files once per cell
def _read(path: Path, _stamps: tuple[object, ...]) -> object:
    return identity(str(path)) if path.is_dir() else checksum(path)
