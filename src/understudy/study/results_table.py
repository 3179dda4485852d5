"""From finished cells to the results table: rows, means, and what each paper stage keeps.

Wins and decisions use dev, as in the paper. A stage decides between its own rows and what the previous stage kept;
the first stage that distils is compared with the fine-tuned student.
"""

from collections.abc import Mapping, Sequence

from understudy.config.study import Cell, MethodRow, Study
from understudy.evaluation.metrics import METRICS, result_name
from understudy.report.facts import FINE_TUNED
from understudy.report.formatting import with_direction
from understudy.report.table_facts import MethodFacts, MissingFacts, ResultsTable
from understudy.study.cell_scores import Measured
from understudy.study.decisions import By, Cells, baseline_of, decide, wins_of
from understudy.study.means import split_means

FINE_TUNE = "fine_tune"
"""The method of rows that compare students without distillation: architectures, pruning."""


def results_table_of(
    study: Study, cells: Sequence[Cell], *, found: Mapping[str, Measured | None], errors: Mapping[str, str]
) -> ResultsTable:
    """The facts of the results table.

    Args:
        study: tasks, methods, seeds.
        cells: all cells of the study, in their order.
        found: cell name -> its scores; None if it is not finished.
        errors: cell name -> why it failed; empty if it was not tried.
    """
    metrics = dict.fromkeys(result_name(metric) for cell in cells for metric in cell.recipe.task.metrics)
    finished = [(cell, own) for cell in cells if (own := found[cell.recipe.name])]
    table: ResultsTable = {
        "study": study.name,
        "tasks": list(study.tasks),
        "primary_metric": {cell.task: result_name(cell.recipe.task.primary_metric) for cell in reversed(cells)},
        "metric_labels": {name: _label(name) for name in metrics},
        "rows": [own.facts for _, own in finished],
        "missing": [_missing(cell, errors[cell.recipe.name]) for cell in cells if not found[cell.recipe.name]],
        "summary": [],
        "decisions": [],
    }
    of_row: dict[str, Cells] = {
        row.name: {(cell.task, cell.seed): own for cell, own in finished if cell.row.name == row.name}
        for row in study.methods
    }
    requested = [cell.row.name for cell in cells]
    kept: tuple[By, str] | None = None
    for stage, rows in _stages(study).items():
        by: By = "score" if all(row.method == FINE_TUNE for row in rows) else "gap_closed"
        options = {row.name: of_row[row.name] for row in rows}
        carried = kept[1] if kept and kept[0] == by else FINE_TUNED if by == "gap_closed" else None
        if carried:
            options = {carried: of_row[carried] if carried in of_row else baseline_of(options)} | options
        decision = decide(stage, options, by=by, carried=carried, tasks=tuple(study.tasks))
        table["decisions"].append(decision)
        table["summary"] += [
            _summary(row, options, tuple(study.tasks), requested.count(row.name), by=by) for row in rows
        ]
        if decision["kept"]:
            kept = by, decision["kept"]
    return table


def _stages(study: Study) -> dict[str, list[MethodRow]]:
    stages: dict[str, list[MethodRow]] = {}
    for row in study.methods:
        stages.setdefault(row.group, []).append(row)
    return stages


def _summary(
    row: MethodRow, options: Mapping[str, Cells], tasks: tuple[str, ...], total: int, *, by: By
) -> MethodFacts:
    cells = list(options[row.name].values())
    # Where rows only fine-tune, the baseline is the row itself: a share of its gap would have no meaning.
    shared = cells if by == "gap_closed" else []
    wins, contests = wins_of(row.name, options)
    return {
        "paper_stage": row.group,
        "method": row.name,
        "dev": split_means(shared, split="dev", tasks=tasks),
        "test": split_means(shared, split="test", tasks=tasks),
        "wins": wins,
        "contests": contests,
        "finished": len(cells),
        "total": total,
    }


def _missing(cell: Cell, error: str) -> MissingFacts:
    return {
        "paper_stage": cell.row.group,
        "method": cell.row.name,
        "task": cell.task,
        "seed": cell.seed,
        "error": error,
    }


def _label(metric: str) -> str:
    """A metric's label with its direction; a metric of the user's own is not imported for it."""
    known = METRICS.get(metric)
    return with_direction(known.label, higher_is_better=known.higher_is_better) if known else metric
