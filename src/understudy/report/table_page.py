"""A study's results table: as a table with the paper's columns, as Markdown, and as an HTML page.

`table_facts.py` defines the facts, `table_text.py` writes the sentences, `table_figures.py` draws the figures.
"""

from typing import Literal

from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, NOT_MEASURED, TEACHER
from understudy.report.formatting import UNKNOWN, brackets, duration, fixed, join_nonempty, percent
from understudy.report.paper import PAPER_CONTESTS, PAPER_TASKS, paper_row
from understudy.report.table_facts import CellFacts, MethodFacts, MissingFacts, ResultsTable
from understudy.report.table_figures import results_table_figures
from understudy.report.table_text import count_cells, decision_text, headline, limitations
from understudy.report.tables import TextCell, TextTable, markdown
from understudy.report.templates import render_template, trusted_figures

ScoredSplit = Literal["dev", "test"]


def methods_table(results: ResultsTable, split: ScoredSplit = "dev") -> TextTable:
    """The form of the paper's Table 3: one row per method, its mean, then one column per task and the wins.

    Wins are counted on dev for both splits. The last two columns are the paper's values for rows of the same name.
    """
    tasks = results["tasks"]
    head = ("Paper stage", "Method", "Mean", *tasks, "Wins", "Primary metric", "Paper: mean", "Paper: wins")
    stages = [row["paper_stage"] for row in results["summary"]]
    rows = []
    for place, row in enumerate(results["summary"]):
        shares = row[split]
        first = row["paper_stage"] not in stages[:place]
        rows.append(
            (
                TextCell(row["paper_stage"] if first else ""),
                TextCell(row["method"], _progress(row)),
                _share_cell(shares["all"]["mean"]),
                *(
                    _share_cell(shares["tasks"][task]["mean"] if task in shares["tasks"] else NOT_MEASURED)
                    for task in tasks
                ),
                TextCell(f"{row['wins']} of {row['contests']}" if row["contests"] else UNKNOWN),
                _share_cell(shares["all"]["primary"]),
                *_paper_cells(row["method"]),
            )
        )
    return TextTable(head, tuple(rows))


def without_empty(results: ResultsTable) -> ResultsTable:
    """The results without the rows and tasks that have no finished cell."""
    tasks = {cell["task"] for cell in results["rows"]}
    return {
        **results,
        "tasks": [task for task in results["tasks"] if task in tasks],
        "summary": [row for row in results["summary"] if row["finished"]],
    }


def results_table_markdown(results: ResultsTable, split: ScoredSplit = "dev") -> str:
    """The results table in GitHub-flavoured Markdown, for a document of results."""
    return markdown(methods_table(results, split))


def cells_table(results: ResultsTable) -> TextTable:
    """Every cell: its scores in the primary metric, share of the gap and duration, or its error."""
    head = (
        *("Method", "Task", "Seed", "Metric", "Gap closed", "Teacher", "Fine-tuned student", "Student"),
        *("Student on test", "Time"),
    )
    rows = [_finished_row(cell, results) for cell in results["rows"]]
    return TextTable(head, (*rows, *(_missing_row(cell, len(head)) for cell in results["missing"])))


def render_results_table(results: ResultsTable) -> str:
    """The complete page. Equal facts give equal pages."""
    return render_template(
        "table_page.html.jinja",
        study=results["study"],
        headline=headline(results),
        dev=methods_table(results),
        test=methods_table(results, "test"),
        cells=cells_table(results),
        decisions={decision["paper_stage"]: decision_text(decision) for decision in results["decisions"]},
        notes=limitations(results),
        paper_contests=PAPER_CONTESTS,
        figures=trusted_figures(results_table_figures(results)),
    )


def _share_cell(share: Interval) -> TextCell:
    """A share of the gap in percent, with its interval below."""
    return TextCell(percent(share["value"]), brackets(share, scale=100, places=0))


def _progress(row: MethodFacts) -> str:
    return "" if row["finished"] == row["total"] else f"{row['finished']} of {count_cells(row['total'])}"


def _paper_cells(method: str) -> tuple[TextCell, TextCell]:
    row = paper_row(method)
    if row is None:
        return TextCell(UNKNOWN), TextCell(UNKNOWN)
    tasks = ", ".join(f"{task} {fixed(value, 1)}" for task, value in zip(PAPER_TASKS, row.tasks, strict=True))
    return TextCell(percent(row.mean / 100), tasks), TextCell(f"{row.wins} of {PAPER_CONTESTS}")


def _finished_row(cell: CellFacts, results: ResultsTable) -> tuple[TextCell, ...]:
    metric, others = results["primary_metric"][cell["task"]], cell["comparison_scores"]
    scores = (others[TEACHER]["dev"], others[FINE_TUNED]["dev"], cell["scores"]["dev"])
    gap = cell["gap_closed"]["dev"][metric]
    return (
        TextCell(cell["method"]),
        TextCell(cell["task"]),
        TextCell(str(cell["seed"])),
        TextCell(results["metric_labels"].get(metric, metric)),
        TextCell(percent(gap["value"]), join_nonempty(brackets(gap, scale=100, places=0), gap.get("note"))),
        *(TextCell(fixed(own[metric], 2)) for own in scores),
        TextCell(fixed(cell["scores"]["test"][metric], 2)),
        TextCell(duration(cell["seconds"])),
    )


def _missing_row(cell: MissingFacts, columns: int) -> tuple[TextCell, ...]:
    state = TextCell("failed", cell["error"]) if cell["error"] else TextCell("not finished yet")
    known = (TextCell(cell["method"]), TextCell(cell["task"]), TextCell(str(cell["seed"])), state)
    return (*known, *(TextCell(UNKNOWN) for _ in range(columns - len(known))))
