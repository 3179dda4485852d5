"""The cells of a study on disk: which stage holds the scores of each, or why it has none.

A cell's record, `cells/<cell>.json`, names the recipe that made it and the folder of its scores in the store.
"""

import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from understudy.config.study import Cell
from understudy.errors import ConfigError, UnderstudyError, first_line
from understudy.pipeline.build import train_systems
from understudy.pipeline.context import STORE, run_context
from understudy.pipeline.delivery import dependencies_first
from understudy.pipeline.preflight import Prepared, require_preflight
from understudy.pipeline.recipe_files import recipe_files
from understudy.pipeline.run_record import PLANNED, write_planned
from understudy.pipeline.systems import TrainedSystems
from understudy.pipeline.teacher_outputs import endpoint_of, open_teacher
from understudy.progress import Progress
from understudy.store.disk import checksum, checksums, read_json, write_json, write_text
from understudy.store.manifest import MANIFEST, parse, read_manifest
from understudy.store.stage import content_key
from understudy.store.verify import verified
from understudy.study.cell_scores import CellScoresFacts, CellScoresStage, Measured, read_cell
from understudy.study.needs import CELLS


@dataclass(frozen=True)
class StudyPaths:
    """The paths of a study: its own files, and the store that it shares with runs and other studies."""

    out: Path
    name: str

    @property
    def folder(self) -> Path:
        """The folder of the study's own files."""
        return self.out / self.name

    @property
    def store(self) -> Path:
        """The folder of the stages."""
        return self.out / STORE

    def record(self, cell: Cell) -> Path:
        """The file with the outcome of a cell."""
        return self.folder / CELLS / f"{cell.recipe.name}.json"

    def planned(self, cell: Cell) -> Path:
        """The file with the stages that an unfinished cell is going to need."""
        return self.folder / CELLS / f".{cell.recipe.name}{PLANNED}"


@dataclass(frozen=True)
class CellStages:
    """A cell as stages: the stage of its scores depends on all others."""

    cell: Cell
    scores: CellScoresStage
    systems: TrainedSystems

    @property
    def own_folders(self) -> list[str]:
        """The folders of the student's stages and of its predictions; other cells share the rest."""
        final = self.systems.final
        own = [*self.systems.generations, self.systems.student, final.network, final.predictions]
        return list(dict.fromkeys(stage.folder_name for stage in own if stage))


def cell_stages(cell: Cell, paths: StudyPaths, progress: Progress, *, allow_code: bool) -> CellStages:
    """The stages of a cell. The stages on which their keys depend are made now.

    Raises:
        UnderstudyError: if the recipe's data or models cannot be used, or there are no labels.
    """
    recipe = cell.recipe
    context = run_context(paths.out, progress, wait=True, allow_code=allow_code, endpoint=endpoint_of(recipe))
    teacher = open_teacher(recipe, context)
    works = teacher.task.recipe.task
    if works.metrics != recipe.task.metrics:
        raise ConfigError(
            f"the references are too short for the default metrics ({', '.join(recipe.task.metrics)}); set "
            f"task.metrics of the study's task to [{', '.join(works.metrics)}] and task.primary_metric to "
            f"{works.primary_metric}"
        )
    systems = train_systems(teacher.task, teacher)
    if systems.baseline is None:
        raise ConfigError(
            "a study compares with the student fine-tuned on labels, and task.files has no labeled file; give one (a "
            "few hundred labels will do), or use understudy run"
        )
    scored = (systems.teacher, systems.baseline, systems.final)
    scores = CellScoresStage(scored, teacher.task.scoring(), teacher.task.data)
    require_preflight(Prepared(teacher.task, scores, context))
    write_planned(paths.planned(cell), dependencies_first(scores))
    return CellStages(cell, scores, systems)


def record_finished(stages: CellStages, paths: StudyPaths) -> None:
    """Records the folder of a cell's scores, and how long its student took."""
    seconds = sum(read_manifest(paths.store / name).seconds for name in stages.own_folders)
    record = {
        "recipe": recipe_key(stages.cell),
        "stage": stages.scores.folder_name,
        "seconds": round(seconds, 3),
    }
    write_json(paths.record(stages.cell), record)
    paths.planned(stages.cell).unlink(missing_ok=True)


def record_failure(cell: Cell, paths: StudyPaths, error: Exception) -> str:
    """Records why a cell has no scores; returns the message."""
    message = str(error) if isinstance(error, UnderstudyError) else _with_traceback(error, paths.record(cell))
    write_json(paths.record(cell), {"recipe": recipe_key(cell), "error": message, "tried": time.time()})
    return message


def measured(cell: Cell, paths: StudyPaths) -> Measured | None:
    """The scores of a cell; None if it is not finished, or was made from another recipe or other files."""
    record = _record(cell, paths)
    if "stage" not in record or record["recipe"] != recipe_key(cell):
        return None
    folder = paths.store / str(record["stage"])
    if not (folder / MANIFEST).exists():  # the store was emptied: the cell is made again
        return None
    facts = parse(CellScoresFacts, read_manifest(verified(folder)).facts, folder)
    return read_cell(folder, facts, cell, seconds=cast(float, record["seconds"]))


def failure_message(cell: Cell, paths: StudyPaths) -> str:
    """Why a cell failed; empty if it was made or never tried."""
    return str(_record(cell, paths).get("error", ""))


def recipe_key(cell: Cell) -> str:
    """A hash of what determines a cell's result: the recipe's settings, and the contents of the files it names."""
    named = [_content(path) for path in recipe_files(cell.recipe)]
    return content_key({"recipe": cell.recipe.model_dump(mode="json"), "named": named})


def _with_traceback(error: Exception, record: Path) -> str:
    """Writes the traceback of an unexpected error to a file; returns a message that names the file."""
    trace = record.with_suffix(".traceback.txt")
    write_text(trace, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {first_line(error)}; its traceback is in {trace}"


def _record(cell: Cell, paths: StudyPaths) -> dict[str, object]:
    path = paths.record(cell)
    return read_json(path) if path.is_file() else {}


def _content(path: Path) -> object:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return _read(path, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache  # a study needs the checksum of each of its few files once per cell
def _read(path: Path, _stamps: tuple[object, ...]) -> object:
    return checksums(path) if path.is_dir() else checksum(path)
