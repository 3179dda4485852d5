"""Prints what commands return: results, scores, pseudo-targets, methods. All user text is escaped for rich."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy.config.presets import PRESETS, preset_named
from understudy.pool.pool import PoolStatistics
from understudy.pool.show import ShownRow
from understudy.records import Score
from understudy.report.diagnostics import Diagnostics, main_numbers, summary_sentence
from understudy.report.facts import Facts
from understudy.report.table_facts import ResultsTable
from understudy.report.table_page import methods_table, without_empty
from understudy.report.table_text import decision_text
from understudy.report.verdict import five_numbers, verdict

if TYPE_CHECKING:
    from understudy.api_teacher.collect import CollectResult

LOG_WIDTH = 150
"""Width in columns without a terminal; narrower terminals omit columns that are on the page only."""


def methods_listed() -> str:
    """A line for each method: its name and its meaning."""
    width = max(map(len, PRESETS))
    return "".join(f"{name:<{width}}  {preset.meaning}\n" for name, preset in PRESETS.items())


def method_explained(method: str) -> str:
    """A method's meaning, its source, and the settings it provides.

    Raises:
        ConfigError: if there is no such method.
    """
    preset = preset_named(method)
    settings = yaml.safe_dump(preset.defaults(), sort_keys=False, default_flow_style=None)
    return f"{method}: {preset.meaning}\nSource: {preset.source}\n\n{settings}"


def print_result(folder: Path, facts: Facts) -> None:
    """Prints the verdict, five numbers, and the paths of report and student."""
    console = Console(highlight=False)
    console.print(f"\n{escape(verdict(facts))}\n")
    for label, value in five_numbers(facts):
        console.print(f"  {label:<24} [bold]{escape(value)}[/bold]")
    console.print(f"\nreport: {escape(str(folder / 'report.html'))}\nstudent: {escape(str(folder / 'student'))}")


def print_collected(done: "CollectResult") -> None:
    """Prints how many inputs have a response, why others have none, the cost, and the paths of the files."""
    from understudy.api_teacher.collect_files import FAILED, RESPONSES

    console, outcome = Console(highlight=False), done.outcome
    console.print(f"\n{outcome.answered} inputs with a response, {done.texts} usable texts, {outcome.spent:.4f} spent")
    for reason, count in outcome.rejected.items():
        console.print(f"  rejected, {escape(reason)}: {count}")
    for reason, count in Counter(outcome.failed.values()).most_common():
        console.print(f"  failed, {escape(reason)}: {count}")
    console.print(f"\nresponses: {escape(str(done.folder / RESPONSES))}\nfailed: {escape(str(done.folder / FAILED))}")


def print_diagnostics(folder: Path, facts: Diagnostics) -> None:
    """Prints a summary of the curves, their main numbers, and the path of the page."""
    console = Console(highlight=False)
    console.print(f"\n{escape(summary_sentence(facts))}\n", soft_wrap=True)
    for label, value in main_numbers(facts):
        console.print(f"  {escape(label):<44} [bold]{escape(value)}[/bold]", soft_wrap=True)
    console.print(f"\ndiagnostics: {escape(str(folder / 'diagnostics.html'))}", soft_wrap=True)


def print_results_table(page: Path, results_table: ResultsTable) -> None:
    """Prints the finished part of a results table, the decisions of its stages, and the path of the whole page."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
    shown = methods_table(without_empty(results_table))
    columns = len(shown.head) if console.width >= LOG_WIDTH else shown.head.index("Mean") + 1
    table = Table(*map(escape, shown.head[:columns]), box=box.SIMPLE_HEAD)
    for row in shown.rows:
        # A cell shows its value above its interval; other details are on the page only.
        lines = [[cell.value, cell.detail] if cell.detail.startswith("[") else [cell.value] for cell in row]
        table.add_row(*(escape("\n".join(cell)) for cell in lines[:columns]))
    console.print(table)
    if missing := len(results_table["missing"]):
        console.print(f"{missing} of {missing + len(results_table['rows'])} cells are not finished\n")
    for decision in results_table["decisions"]:
        line = f"[bold]{escape(decision['paper_stage'])}[/bold] {escape(decision_text(decision))}"
        console.print(line, soft_wrap=True)
    console.print(f"\npage: {escape(str(page))}", soft_wrap=True)


def print_scores(scores: Mapping[str, Sequence[Score]]) -> None:
    """Prints a table of metrics by systems with intervals (a dash: not available), then the signatures."""
    table = Table("", *(escape(name.replace("_", " ")) for name in scores))
    cells: dict[str, dict[str, str]] = {score.metric: {} for of_system in scores.values() for score in of_system}
    for name, of_system in scores.items():
        for score in of_system:
            cells[score.metric][name] = f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
    for metric, by_system in cells.items():
        table.add_row(escape(metric), *(escape(by_system.get(name, "–")) for name in scores))
    console = Console(highlight=False)
    console.print(table)
    for signature in dict.fromkeys(score.signature for of_system in scores.values() for score in of_system):
        console.print(escape(signature), style="dim", soft_wrap=True)


def print_pool(statistics: PoolStatistics, rows: Sequence[ShownRow]) -> None:
    """Prints statistics of a pool and some of its texts."""
    console = Console(highlight=False)
    facts: Mapping[str, Any] = statistics
    console.print(
        f"{facts['texts']} texts for {facts['inputs']} inputs, {facts['per_input']:.1f} each; "
        f"{facts['duplicates']:.1%} repeat another text of their input"
        + ("" if facts["unfinished"] is None else f"; {facts['unfinished']:.1%} unfinished")
    )
    for row in rows:
        logprob = "" if row.logprob_per_token is None else f"{row.logprob_per_token:.2f} nats/token, "
        origin = f"{row.generator}, round {row.round}"
        console.print(
            f"\n[bold]{escape(row.input_id)}[/bold] [dim]{logprob}{row.tokens} tokens, x{row.copies}, {origin}[/dim]"
        )
        console.print(f"  [dim]{escape(row.source)}[/dim]\n  {escape(row.text)}", soft_wrap=True)
