"""A study told to people: the results_table as a table beside the paper's, its decisions in words, one page.

Reads the facts of `ladder_facts`; the template stands beside it, figures in `ladder_figures`.
"""

from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from understudy.report.facts import FINE_TUNED, NOTHING, TEACHER, Interval
from understudy.report.paper import CONTESTS, KEPT, TASKS, paper_row
from understudy.report.table_facts import CellFacts, Decision, MethodFacts, MissingFacts, ResultsTable, far_enough
from understudy.report.table_figures import ladder_figures
from understudy.report.tables import Cell, Table, _markdown
from understudy.report.wording import UNKNOWN, brackets, duration, fixed, metric_label, percent, signed, system_label

HERE = Path(__file__).parent
Split = Literal["dev", "test"]


def results_table_rows(results_table: ResultsTable, split: Split = "dev") -> Table:
    """The form of the paper's Table 3: a row per method, a column per task, wins on dev, mean; then the paper's."""
    head = ("Stage", "Method", *results_table["tasks"], "Wins", "Mean", "Primary metric", "Paper: mean", "Paper: wins")
    stages = [row["stage"] for row in results_table["summary"]]
    rows = []
    for place, row in enumerate(results_table["summary"]):
        own = row[split]
        first = row["stage"] not in stages[:place]
        rows.append(
            (
                Cell(row["stage"] if first else ""),
                Cell(row["method"], _progress(row)),
                *(
                    share_cell(own["tasks"][task]["mean"] if task in own["tasks"] else NOTHING)
                    for task in results_table["tasks"]
                ),
                Cell(f"{row['wins']} of {row['contests']}" if row["contests"] else UNKNOWN),
                share_cell(own["all"]["mean"]),
                share_cell(own["all"]["primary"]),
                *_paper(row["method"]),
            )
        )
    return Table(head, tuple(rows))


def made_of(results_table: ResultsTable) -> ResultsTable:
    """The results_table without the rows and the tasks of which no cell is made."""
    tasks = {cell["task"] for cell in results_table["rows"]}
    return {
        **results_table,
        "tasks": [task for task in results_table["tasks"] if task in tasks],
        "summary": [row for row in results_table["summary"] if row["cells"]],
    }


def ladder_markdown(results_table: ResultsTable, split: Split = "dev") -> str:
    """That table in GitHub-flavoured Markdown, for a document of results."""
    return _markdown(results_table_rows(results_table, split))


def cells_table(results_table: ResultsTable) -> Table:
    """Every cell: its scores in the primary metric, its share of the gap, what it took, or why it has none."""
    head = ("Method", "Task", "Seed", "Metric", "Fine-tuned", "Dev", "Teacher", "Gap closed", "Test", "Took")
    rows = [_finished(cell, results_table["primary_metric"][cell["task"]]) for cell in results_table["rows"]]
    return Table(head, (*rows, *(_missing(cell, len(head)) for cell in results_table["missing"])))


def decision_in_words(decision: Decision) -> str:
    """What a stage keeps, by how much, and what the paper keeps."""
    kept, paper = decision["kept"], KEPT.get(decision["stage"])
    beside = f" The paper keeps {paper}." if paper else ""
    if kept is None and decision["cells"]:
        return f"Nothing can be decided: the teacher leads in no metric of {_cells(decision['cells'])}.{beside}"
    if kept is None:
        return f"Nothing is decided yet: no cell is finished that all options have.{beside}"
    options = {option["method"]: option for option in decision["options"]}
    what = "of the gap on dev" if decision["by"] == "gap_closed" else "in the primary metric on dev"
    before = ", as before" if options[kept]["carried"] else ""
    said = f"Keeps {_named(kept)}{before}: {_amount(decision, options[kept]['dev'])} {what}"
    if "runner_up" in decision:
        runner, lead = decision["runner_up"], decision["lead"]
        said += f"; next is {_named(runner)} with {_amount(decision, options[runner]['dev'])}"
        said += f" (lead {_points(decision, lead)})"
        said += ". The interval of the lead holds 0: within noise." if decision["within_noise"] else ". Beyond noise."
    else:
        said += "; there is nothing to compare it with."
    begun = [own for own in decision["options"] if own["dev"]["value"] is None and own["finished"]]
    left = ", ".join(f"{_named(option['method'])} ({_cells(option['finished'])})" for option in begun)
    told = f" Not compared: {left}." if left else ""
    return f"{said} Over {_cells(decision['cells'])}.{told}{beside}"


def headline(results_table: ResultsTable) -> str:
    """The study in one sentence: the row with the best dev mean, of those that are at least half as far as another."""
    done, asked = (sum(row[key] for row in results_table["summary"]) for key in ("cells", "asked"))
    state = "" if done == asked else f" {done} of {_cells(asked)} are finished."
    most = max((row["cells"] for row in results_table["summary"]), default=0)
    known = [
        row
        for row in results_table["summary"]
        if row["dev"]["all"]["mean"]["value"] is not None and far_enough(row["cells"], most=most)
    ]
    if not known:
        return f"{results_table['study']}: no share of the gap is known yet.{state}"
    best = max(known, key=lambda row: row["dev"]["all"]["mean"]["value"] or 0)
    mean = best["dev"]["all"]["mean"]
    amount = " ".join(filter(None, (percent(mean["value"]), brackets(mean, scale=100, places=0))))
    tasks = len(best["dev"]["tasks"])
    over = f"mean over metrics, seeds and {tasks} tasks" if tasks > 1 else "mean over metrics and seeds"
    return f"{best['method']} closes {amount} of the gap between fine-tuned student and teacher on dev ({over}).{state}"


def render_results_table(results_table: ResultsTable) -> str:
    """The whole page. The same facts give the same page."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    figures = {caption: Markup(drawing) for caption, drawing in ladder_figures(results_table).items()}  # noqa: S704 - matplotlib escapes text
    return environment.get_template("table_page.html.jinja").render(
        results_table=results_table,
        headline=headline(results_table),
        dev=results_table_rows(results_table),
        test=results_table_rows(results_table, "test"),
        cells=cells_table(results_table),
        decisions={decision["stage"]: decision_in_words(decision) for decision in results_table["decisions"]},
        notes=_notes(results_table),
        contests=CONTESTS,
        figures=figures,
        style=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704 - our own file
    )


def share_cell(share: Interval) -> Cell:
    """A share of the gap in percent, its interval below."""
    return Cell(percent(share["value"]), brackets(share, scale=100, places=0))


def _progress(row: MethodFacts) -> str:
    return "" if row["cells"] == row["asked"] else f"{row['cells']} of {_cells(row['asked'])}"


def _paper(method: str) -> tuple[Cell, Cell]:
    row = paper_row(method)
    if row is None:
        return Cell(UNKNOWN), Cell(UNKNOWN)
    tasks = ", ".join(f"{task} {fixed(value, 1)}" for task, value in zip(TASKS, row.tasks, strict=True))
    return Cell(percent(row.mean / 100), tasks), Cell(f"{row.wins} of {CONTESTS}")


def _finished(cell: CellFacts, metric: str) -> tuple[Cell, ...]:
    references = cell["references"]
    shown = (references[FINE_TUNED]["dev"], cell["scores"]["dev"], references[TEACHER]["dev"])
    gap = cell["gap_closed"]["dev"][metric]
    return (
        Cell(cell["method"]),
        Cell(cell["task"]),
        Cell(str(cell["seed"])),
        Cell(metric_label(metric)),
        *(Cell(fixed(scores[metric], 2)) for scores in shown),
        Cell(percent(gap["value"]), " ".join(filter(None, (brackets(gap, scale=100, places=0), gap.get("note"))))),
        Cell(fixed(cell["scores"]["test"][metric], 2)),
        Cell(duration(cell["seconds"])),
    )


def _missing(cell: MissingFacts, columns: int) -> tuple[Cell, ...]:
    why = Cell("failed", cell["error"]) if cell["error"] else Cell("not made yet")
    known = (Cell(cell["method"]), Cell(cell["task"]), Cell(str(cell["seed"])), why)
    return (*known, *(Cell(UNKNOWN) for _ in range(columns - len(known))))


def _notes(results_table: ResultsTable) -> list[str]:
    """What a reader must know before believing the numbers."""
    seeds = {(row["method"], row["task"]): 0 for row in results_table["rows"]}
    for row in results_table["rows"]:
        seeds[row["method"], row["task"]] += 1
    notes = []
    if seeds and min(seeds.values()) == 1:
        notes.append(
            "Where a method has one seed, its interval knows the examples only; another seed may say otherwise."
        )
    failed = sum(bool(cell["error"]) for cell in results_table["missing"])
    if failed:
        notes.append(f"{_cells(failed)} failed; the reasons stand in the table of cells.")
    if len(results_table["missing"]) > failed:
        notes.append(f"{_cells(len(results_table['missing']) - failed)} not made yet: means are over what there is.")
    return notes


def _amount(decision: Decision, own: Interval) -> str:
    score = decision["by"] == "score"
    value = fixed(own["value"], 1) if score else percent(own["value"])
    return " ".join(filter(None, (value, brackets(own, scale=1 if score else 100, places=1 if score else 0))))


def _points(decision: Decision, lead: Interval) -> str:
    score = decision["by"] == "score"
    scale, places = (1, 1) if score else (100, 0)
    value = signed(None if lead["value"] is None else scale * lead["value"], places)
    return " ".join(filter(None, (value, "" if score else "points", brackets(lead, scale=scale, places=places))))


def _named(method: str) -> str:
    return system_label(method).lower() if method == FINE_TUNED else method


def _cells(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"
