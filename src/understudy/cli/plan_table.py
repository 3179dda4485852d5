"""Prints what `check` found and what `plan` foresees, as tables."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from understudy.cli.printing import LOG_WIDTH
from understudy.report.formatting import duration, money

if TYPE_CHECKING:
    from understudy.pipeline.plan import PlannedStage
    from understudy.pipeline.plan_estimates import Estimate
    from understudy.pipeline.stages.network_check import Finding

COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def print_findings(findings: Sequence["Finding"]) -> None:
    """Prints check, finding and remedy of each, and how many are errors and warnings."""
    table = Table("Check", "", "Finding", "Remedy", box=box.SIMPLE_HEAD)
    for one in findings:
        table.add_row(Text(one.check), Text(one.severity, COLORS[one.severity]), Text(one.finding), Text(one.remedy))
    console = _console()
    console.print(table)
    counts = {kind: sum(one.severity == kind for one in findings) for kind in ("error", "warning")}
    console.print(", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items()))


def print_plan(stages: Sequence["PlannedStage"], total: "Estimate") -> None:
    """Prints a row for each stage and one for those that are not cached; seconds are right within a factor of two."""
    columns = ("Inputs", "Texts", "Tokens", "Steps", "Time", "Memory MB", "Disk MB", "Money")
    table = Table("Stage", "Cached", *(Column(name, justify="right") for name in columns), box=box.SIMPLE_HEAD)
    for one in stages:
        table.add_row(Text(one.label), "yes" if one.cached else "", *_cells(one.estimate))
    table.add_section()
    table.add_row("to do", "", *_cells(total), style="bold")
    console = _console()
    console.print(table)
    notes = [one.note for one in stages if one.note]
    if total.least_seconds is not None:
        notes.append("a range of time: early stopping (patience) may end a training before its last epoch")
    for note in dict.fromkeys(notes):
        console.print(Text(note), soft_wrap=True)


def _cells(own: "Estimate") -> list[str]:
    counts = (own.inputs, round(own.texts), round(own.tokens), own.steps)
    return [
        *(f"{count:,}" if count else "" for count in counts),
        _time(own),
        f"{own.memory_bytes / 1e6:,.0f}",
        f"{own.disk_bytes / 1e6:,.0f}",
        "" if own.money is None else money(own.money),
    ]


def _time(own: "Estimate") -> str:
    """How long it takes; from the least to the most where early stopping may end a training before its end."""
    if own.least_seconds is None:
        return duration(own.seconds) if own.seconds else ""
    return f"{duration(own.least_seconds)} to {duration(own.seconds)}"


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
