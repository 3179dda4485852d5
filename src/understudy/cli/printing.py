"""Prints what commands return: results, scores, pseudo-targets.

Text is printed as it is: without rich's markup, its emoji or its highlighting, with control characters visible, and
in characters that the stream has.
"""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from understudy.characters import visible
from understudy.config.presets import PRESETS
from understudy.pool.pool import PoolStatistics
from understudy.pool.show import ShownRow
from understudy.records import Score
from understudy.report.comparison_facts import ComparisonFacts
from understudy.report.comparison_page import (
    comparison_headline,
    requirement_holds,
    requirements_table,
    scores_table,
)
from understudy.report.costs import cost_numbers
from understudy.report.diagnostics import Diagnostics, main_numbers, summary_sentence
from understudy.report.facts import FINE_TUNED, TEACHER, Facts
from understudy.report.formatting import join_nonempty, system_label, with_direction
from understudy.report.table_facts import ResultsTable
from understudy.report.table_page import methods_table, without_empty
from understudy.report.table_text import decision_text
from understudy.report.verdict import five_numbers, verdict

if TYPE_CHECKING:
    from understudy.api_teacher.collect import CollectResult

LOG_WIDTH = 150
"""Width in columns without a terminal; narrower terminals omit columns that are on the page only."""


def print_result(folder: Path, facts: Facts) -> None:
    """Prints the verdict, its numbers, warnings, and the paths of report and student."""
    console = _console()
    _line(console, f"\n{verdict(facts)}\n")
    costs = [(label, f"{value} ({detail})" if detail else value) for label, value, detail in cost_numbers(facts)]
    for label, value in (*five_numbers(facts), *costs):
        _line(console, f"  {label:<24} ", (value, "bold"))
    for number, warning in enumerate(facts.get("warnings", [])):
        _line(console, "" if number else "\n", (f"warning: {warning}", "bold"))
    student = folder / "student"
    shown = str(student) if student.exists() else "was deleted from the store; run the recipe again to make it"
    _line(console, f"\nreport: {folder / 'report.html'}\nstudent: {shown}")
    if student.exists():
        _line(console, f"next: understudy serve {shlex.quote(str(folder))}")


def print_collected(done: "CollectResult") -> None:
    """Prints how many inputs have a response, why others have none, the cost, and the paths of the files."""
    from understudy.api_teacher.collect_files import FAILED, RESPONSES
    from understudy.api_teacher.costs import shown_amount
    from understudy.api_teacher.request_types import most_common

    console, outcome = _console(), done.outcome
    _line(
        console,
        f"\n{outcome.answered} inputs with a response, {done.texts} usable texts, {shown_amount(outcome.spent)} spent",
    )
    for reason, count in outcome.rejected.items():
        _line(console, f"  rejected, {reason}: {count}")
    for reason, count in most_common(Counter(outcome.failed.values())).items():
        _line(console, f"  failed, {reason}: {count}")
    _line(console, f"\nresponses: {done.folder / RESPONSES}\nfailed: {done.folder / FAILED}")


def print_diagnostics(folder: Path, facts: Diagnostics) -> None:
    """Prints a summary of the curves, their main numbers, and the path of the page."""
    console = _console()
    _line(console, f"\n{summary_sentence(facts)}\n")
    for label, value in main_numbers(facts):
        _line(console, f"  {label:<44} ", (value, "bold"))
    _line(console, f"\ndiagnostics: {folder / 'diagnostics.html'}")


def print_results_table(page: Path, results_table: ResultsTable) -> None:
    """Prints the finished part of a results table, the decisions of its stages, and the path of the whole page."""
    console = _console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    shown = methods_table(without_empty(results_table))
    columns = len(shown.head) if console.width >= LOG_WIDTH else shown.head.index("Wins") + 1
    # A cell shows its value above its interval; other details are on the page only.
    rows = [
        ["\n".join((cell.value, *([cell.detail] if cell.detail.startswith("[") else []))) for cell in row[:columns]]
        for row in shown.rows
    ]
    console.print(_table(console, shown.head[:columns], rows))
    if missing := len(results_table["missing"]):
        _line(console, f"{missing} of {missing + len(results_table['rows'])} cells are not finished\n")
    for decision in results_table["decisions"]:
        _line(console, (decision["paper_stage"], "bold"), f" {decision_text(decision)}")
    _line(console, f"\npage: {page}")


def print_scores(scores: Mapping[str, Sequence[Score]]) -> None:
    """Prints a table of metrics by systems with intervals (a dash: not available), then the signatures."""
    cells: dict[str, dict[str, str]] = {}
    for name, of_system in scores.items():
        for score in of_system:
            metric = with_direction(score.metric, higher_is_better=score.higher_is_better)
            cells.setdefault(metric, {})[name] = f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
    console = _console()
    rows = [[metric, *(own.get(name, "–") for name in scores)] for metric, own in cells.items()]
    console.print(_table(console, ["", *map(_system, scores)], rows))
    for signature in dict.fromkeys(score.signature for of_system in scores.values() for score in of_system):
        _line(console, (signature, "dim"))


def print_comparison(facts: ComparisonFacts, page: Path | None) -> None:
    """Prints the headline, the scores and the candidate's advantages, the requirements, and the path of the page."""
    console = _console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    _line(console, f"\n{comparison_headline(facts)}\n")
    shown = scores_table(facts, {**facts["metrics"], **facts["outputs"]})
    rows = [["\n".join(filter(None, cell)) for cell in row] for row in shown.rows]
    console.print(_table(console, shown.head, rows))
    for one, row in zip(facts["requirements"], requirements_table(facts).rows, strict=True):
        text, value, bound, margin, by_estimate, by_interval = (join_nonempty(*cell) for cell in row)
        judgement = "holds" if requirement_holds(one, confident=facts["confident"]) else "does not hold"
        numbers = f": {value} against {bound}, margin {margin}; point estimate {by_estimate}, interval {by_interval}"
        _line(console, f"{text}  ", (judgement, "bold"), numbers)
    for note in facts["notes"]:
        _line(console, (note, "dim"))
    if page:
        _line(console, f"\npage: {page}")


def print_pool(statistics: PoolStatistics, rows: Sequence[ShownRow]) -> None:
    """Prints statistics of a pool and some of its texts."""
    console = _console()
    facts: Mapping[str, Any] = statistics
    _line(
        console,
        f"{facts['texts']} texts for {facts['inputs']} inputs, {facts['per_input']:.1f} each; "
        f"{facts['duplicates']:.1%} repeat another text of their input"
        + ("" if facts["unfinished"] is None else f"; {facts['unfinished']:.1%} unfinished"),
    )
    for row in rows:
        logprob = "" if row.logprob_per_token is None else f"{row.logprob_per_token:.2f} nats/token, "
        origin = f"{row.generator}, round {row.round}"
        _line(console, "\n", (row.input_id, "bold"), (f" {logprob}{row.tokens} tokens, x{row.copies}, {origin}", "dim"))
        _line(console, (f"  {row.source}", "dim"), f"\n  {row.text}")


def _console(*, width: int | None = None) -> Console:
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Prints text and pairs of text and style, without wrapping it."""
    shown = [
        visible(part, console.encoding) if isinstance(part, str) else (visible(part[0], console.encoding), part[1])
        for part in parts
    ]
    console.print(Text.assemble(*shown), soft_wrap=True)


def _table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    # Folded, not cut: a cut cell ends with a character that few encodings have.
    columns = (Column(Text(visible(name, console.encoding)), overflow="fold") for name in head)
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(visible(cell, console.encoding)) for cell in row))
    return table


def _system(name: str) -> str:
    """A system of the run by its label; outputs of another system by the name of their file."""
    return system_label(name) if name in {TEACHER, FINE_TUNED, *PRESETS} else name
