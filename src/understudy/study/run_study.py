"""Runs a study: all its cells as stages over one store. The results table is written after each cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config.study import Cell, Study, cells_of
from understudy.errors import unknown_name
from understudy.executors.local import Local
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.progress_file import recorded
from understudy.progress import NoProgress, Progress
from understudy.report.table_facts import ResultsTable
from understudy.report.table_page import render_results_table
from understudy.store import Stage
from understudy.store.disk import make_folder, write_json, write_text
from understudy.store.locks import hold
from understudy.store.store import Executor, Outcome, failure_of
from understudy.study.cells import (
    CellStages,
    StudyPaths,
    cell_stages,
    failure_message,
    measured,
    record_failure,
    record_finished,
)
from understudy.study.needs import CELLS
from understudy.study.results_table import results_table_of

RESULTS_TABLE = "results_table.json"
PAGE = "results_table.html"
LOCAL = Local()
QUIET = NoProgress()


@dataclass(frozen=True)
class StudyResult:
    """The results of a study so far."""

    folder: Path
    results_table: ResultsTable

    @property
    def page(self) -> Path:
        """The results table as a page."""
        return self.folder / PAGE

    @property
    def failures(self) -> list[str]:
        """Each cell that failed, with its error."""
        return [
            f"{cell['task']}, {cell['method']}, seed {cell['seed']}: {cell['error']}"
            for cell in self.results_table["missing"]
            if cell["error"]
        ]


@dataclass(frozen=True)
class Choice:
    """The cells to make: those of these tasks, rows and seeds. An empty sequence means all."""

    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def cells(self, study: Study) -> list[Cell]:
        """The chosen cells, in the order in which they are made.

        Raises:
            ConfigError: for a task, a row or a seed that the study does not have.
        """
        cells = list(cells_of(study))
        known = {
            "task": (self.tasks, list(study.tasks)),
            "method": (self.methods, [row.name for row in study.methods]),
            "seed": ([str(seed) for seed in self.seeds], sorted({str(cell.seed) for cell in cells})),
        }
        for kind, (requested, existing) in known.items():
            for name in requested:
                if name not in existing:
                    raise unknown_name(kind, name, existing)
        return [
            cell
            for cell in cells
            if (not self.tasks or cell.task in self.tasks)
            and (not self.methods or cell.row.name in self.methods)
            and (not self.seeds or cell.seed in self.seeds)
        ]


ALL = Choice()


def run_study(
    study: Study,
    *,
    out: str | Path = "runs",
    progress: Progress = QUIET,
    choice: Choice = ALL,
    executor: Executor = LOCAL,
    allow_code: bool = False,
) -> StudyResult:
    """Makes every cell that is not finished, and writes the results table after each.

    A stage that another process is making is waited for. A cell that fails is listed in the results table with its
    error, and the others are still made; the next call tries it again.

    Args:
        study: tasks, methods and seeds.
        out: the folder of the study and, in `store`, of the stages, shared with runs and other studies.
        progress: receives reports of long work.
        choice: the cells to make.
        executor: where stages run, in this process or in several.
        allow_code: whether code that recipes name (`module:object`) may be imported.

    Raises:
        ConfigError: for a task, a row or a seed that the study does not have.
    """
    paths = StudyPaths(Path(out), study.name)
    cells = choice.cells(study)
    make_folder(paths.folder / CELLS)
    with recorded(progress, paths.folder) as record:
        _make(study, cells, paths, run_context(paths.out, record, wait=True, allow_code=allow_code), executor)
    return write_results_table(study, out=paths.out)


def _make(study: Study, cells: Sequence[Cell], paths: StudyPaths, context: RunContext, executor: Executor) -> None:
    progress = context.progress
    pending = _pending(cells, paths, progress, allow_code=context.allow_code)
    by_key: dict[str, list[CellStages]] = {}
    for stages in pending:
        by_key.setdefault(stages.scores.key, []).append(stages)

    def observe(stage: Stage[Any], outcome: Outcome) -> None:
        if stage.key in by_key and not isinstance(outcome, Exception):
            for stages in by_key[stage.key]:
                record_finished(stages, paths)
            write_results_table(study, out=paths.out)

    outcomes = context.store.get_all([one.scores for one in pending], executor, context, observe=observe)
    for stages in pending:
        if failure := failure_of(stages.scores, outcomes, context):
            cell = stages.cell
            message = record_failure(cell, paths, failure)
            progress.log(f"{cell.task}, {cell.row.name}, seed {cell.seed} failed: {message}")
        else:
            record_finished(stages, paths)


def write_results_table(study: Study, *, out: Path) -> StudyResult:
    """Writes `results_table.json` and `results_table.html` of all finished cells, also those of other processes."""
    paths = StudyPaths(out, study.name)
    make_folder(paths.folder / CELLS)
    table_file = paths.folder / RESULTS_TABLE
    with hold(paths.folder / ".results_table.lock", wait=True, making=table_file):
        cells = list(cells_of(study))
        found = {cell.recipe.name: measured(cell, paths) for cell in cells}
        errors = {cell.recipe.name: failure_message(cell, paths) for cell in cells}
        table = results_table_of(study, cells, found=found, errors=errors)
        write_json(table_file, table)
        write_text(paths.folder / PAGE, render_results_table(table))
    return StudyResult(paths.folder, table)


def _pending(cells: Sequence[Cell], paths: StudyPaths, progress: Progress, *, allow_code: bool) -> list[CellStages]:
    """The unfinished cells as stages. A cell whose stages cannot be derived is recorded as failed."""
    pending = []
    for cell in cells:
        if measured(cell, paths):
            continue
        progress.log(f"{cell.task}, {cell.row.name}, seed {cell.seed}")
        try:
            pending.append(cell_stages(cell, paths, progress, allow_code=allow_code))
        except Exception as error:  # noqa: BLE001 - one broken cell must not keep the others from being made
            message = record_failure(cell, paths, error)
            progress.log(f"{cell.task}, {cell.row.name}, seed {cell.seed} failed: {message}")
    return pending
