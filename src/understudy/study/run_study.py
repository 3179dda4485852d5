"""A study at work: which cell is next, and the results_table after each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.config.study import Cell, Study, cells_of
from understudy.errors import unknown_name
from understudy.pipeline.run import QUIET
from understudy.progress import Progress
from understudy.report.table_facts import ResultsTable
from understudy.report.table_page import render_results_table
from understudy.store.disk import make_folder, write_json, write_text
from understudy.store.stages import claim
from understudy.study.cells import CELLS, StudyPaths, attempt, failure_of, measured, wait_for
from understudy.study.results_table import results_table_of

RESULTS_TABLE = "results_table.json"
PAGE = "results_table.html"


@dataclass(frozen=True)
class StudyResult:
    """What a study has found out so far."""

    folder: Path
    results_table: ResultsTable

    @property
    def page(self) -> Path:
        """The results_table for people."""
        return self.folder / PAGE

    @property
    def failures(self) -> list[str]:
        """Each cell that could not be made, with its sentence."""
        return [
            f"{cell['task']}, {cell['method']}, seed {cell['seed']}: {cell['error']}"
            for cell in self.results_table["missing"]
            if cell["error"]
        ]


@dataclass(frozen=True)
class Choice:
    """Which cells are made: those of these tasks, rows and seeds; where nothing is named, of all."""

    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def cells(self, study: Study) -> list[Cell]:
        """The chosen ones, in the order in which they are made.

        Raises:
            ConfigError: for a task, a row or a seed that the study does not have.
        """
        cells = list(cells_of(study))
        known = {
            "task": (self.tasks, list(study.tasks)),
            "method": (self.methods, [row.name for row in study.methods]),
            "seed": ([str(seed) for seed in self.seeds], sorted({str(cell.seed) for cell in cells})),
        }
        for kind, (asked, there) in known.items():
            for name in asked:
                if name not in there:
                    raise unknown_name(kind, name, there)
        return [
            cell
            for cell in cells
            if (not self.tasks or cell.task in self.tasks)
            and (not self.methods or cell.row.name in self.methods)
            and (not self.seeds or cell.seed in self.seeds)
        ]


ALL = Choice()


def run_study(study: Study, *, out: Path, progress: Progress = QUIET, choice: Choice = ALL) -> StudyResult:
    """Makes every cell that is not made yet; several processes may work on one study at the same time.

    A cell that another process is making is looked at again later, a stage that another is making is waited
    for. A cell that fails with a sentence is told in the results_table, and the others go on; it is tried again when
    the study is. The results_table is written after each cell.

    Args:
        study: what to do.
        out: holds the study's folder and, in `store`, the stages, shared with runs and other studies.
        progress: hears about long work.
        choice: of the cells.

    Raises:
        ConfigError: for a task, a row or a seed that the study does not have.
    """
    place, since = StudyPaths(out, study.name), time.time()
    make_folder(place.folder / CELLS)
    left = choice.cells(study)
    while left:
        busy = []
        for cell in left:
            came = attempt(cell, place, progress, since=since)
            if came == "busy":
                busy.append(cell)
            elif came == "tried":
                write_results_table(study, out=out)
        if len(busy) == len(left):
            progress.log(f"other processes are making what is left ({len(busy)} of the cells); waiting for them")
            wait_for(busy[0], place)
        left = busy
    return write_results_table(study, out=out)


def write_results_table(study: Study, *, out: Path) -> StudyResult:
    """Writes `results_table.json` and `results_table.html` of what is made so far, by whichever process."""
    place = StudyPaths(out, study.name)
    make_folder(place.folder / CELLS)
    with claim(place.folder / ".results_table.lock", wait=True):
        cells = list(cells_of(study))
        found = {cell.recipe.name: measured(cell, place) for cell in cells}
        errors = {cell.recipe.name: failure_of(cell, place) for cell in cells}
        results_table = results_table_of(study, cells, found=found, errors=errors)
        write_json(place.folder / RESULTS_TABLE, results_table)
        write_text(place.folder / PAGE, render_results_table(results_table))
    return StudyResult(place.folder, results_table)
