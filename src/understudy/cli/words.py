"""What commands print: results, scores, pseudo-targets, the meaning of a method."""

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

from understudy.config.presets import PRESETS
from understudy.errors import unknown_name
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
"""Columns where there is no terminal; a narrower one is not told what stands on the page alone."""


def explained(method: str) -> str:
    """What a preset means: in words, its source, and the settings it stands for."""
    if method not in PRESETS:
        raise unknown_name("method", method, PRESETS)
    preset = PRESETS[method]
    settings = yaml.safe_dump(preset.defaults(), sort_keys=False, default_flow_style=None)
    return f"{method}: {preset.meaning}\nSource: {preset.source}\n\n{settings}"


def print_result(folder: Path, facts: Facts) -> None:
    """The verdict, five numbers, and where the report lies."""
    console = Console(highlight=False)
    console.print(f"\n{escape(verdict(facts))}\n")
    for label, value in five_numbers(facts):
        console.print(f"  {label:<24} [bold]{escape(value)}[/bold]")
    console.print(f"\nreport: {escape(str(folder / 'report.html'))}\nstudent: {escape(str(folder / 'student'))}")


def print_collected(done: "CollectResult") -> None:
    """How many inputs were answered, why others were not, what it cost, and where the answers lie."""
    from understudy.api_teacher.collect import FAILED, RESPONSES

    console, outcome = Console(highlight=False), done.outcome
    console.print(f"\n{outcome.answered} inputs answered, {done.texts} usable texts, {outcome.spent:.4f} spent")
    for reason, count in outcome.rejected.items():
        console.print(f"  rejected, {escape(reason)}: {count}")
    for reason, count in Counter(outcome.failed.values()).most_common():
        console.print(f"  failed, {escape(reason)}: {count}")
    console.print(f"\nanswers: {escape(str(done.folder / RESPONSES))}\nothers: {escape(str(done.folder / FAILED))}")


def print_diagnostics(folder: Path, facts: Diagnostics) -> None:
    """What the curves say, their main numbers, and where the page lies."""
    console = Console(highlight=False)
    console.print(f"\n{escape(summary_sentence(facts))}\n", soft_wrap=True)
    for label, value in main_numbers(facts):
        console.print(f"  {escape(label):<44} [bold]{escape(value)}[/bold]", soft_wrap=True)
    console.print(f"\ndiagnostics: {escape(str(folder / 'diagnostics.html'))}", soft_wrap=True)


def print_results_table(page: Path, results_table: ResultsTable) -> None:
    """What is made of the results_table as a table, what its stages keep, and where the page with the whole lies."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
    shown = methods_table(without_empty(results_table))
    columns = len(shown.head) if console.width >= LOG_WIDTH else shown.head.index("Mean") + 1
    table = Table(*map(escape, shown.head[:columns]), box=box.SIMPLE_HEAD)
    for row in shown.rows:
        # Below a value its interval has room; the paper's tasks stand on the page.
        lines = [[cell.value, cell.detail] if cell.detail.startswith("[") else [cell.value] for cell in row]
        table.add_row(*(escape("\n".join(own)) for own in lines[:columns]))
    console.print(table)
    if missing := len(results_table["missing"]):
        console.print(f"{missing} of {missing + len(results_table['rows'])} cells are not made\n")
    for decision in results_table["decisions"]:
        said = f"[bold]{escape(decision['paper_stage'])}[/bold] {escape(decision_text(decision))}"
        console.print(said, soft_wrap=True)
    console.print(f"\npage: {escape(str(page))}", soft_wrap=True)


def print_scores(scores: Mapping[str, Sequence[Score]]) -> None:
    """Metrics by systems with intervals, a dash where a system cannot tell, and below the signatures."""
    table = Table("", *(name.replace("_", " ") for name in scores))
    told: dict[str, dict[str, str]] = {score.metric: {} for own in scores.values() for score in own}
    for name, own in scores.items():
        for score in own:
            told[score.metric][name] = f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
    for metric, by_system in told.items():
        table.add_row(metric, *(escape(by_system.get(name, "–")) for name in scores))
    console = Console(highlight=False)
    console.print(table)
    for signature in dict.fromkeys(score.signature for own in scores.values() for score in own):
        console.print(escape(signature), style="dim", soft_wrap=True)


def print_pool(statistics: PoolStatistics, rows: Sequence[ShownRow]) -> None:
    """What a pool holds, and some of it."""
    console = Console(highlight=False)
    facts: Mapping[str, Any] = statistics
    console.print(
        f"{facts['texts']} texts for {facts['inputs']} inputs, {facts['per_input']:.1f} each; "
        f"{facts['duplicates']:.1%} repeat another text of their input"
        + ("" if facts["unfinished"] is None else f"; {facts['unfinished']:.1%} unfinished")
    )
    for row in rows:
        score = "" if row.logprob_per_token is None else f"{row.logprob_per_token:.2f} nats/token, "
        where = f"{row.generator}, round {row.round}"
        console.print(
            f"\n[bold]{escape(row.input_id)}[/bold] [dim]{score}{row.tokens} tokens, x{row.copies}, {where}[/dim]"
        )
        console.print(f"  [dim]{escape(row.source)}[/dim]\n  {escape(row.text)}", soft_wrap=True)
