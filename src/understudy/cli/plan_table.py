"""Prints what `check` found and what `plan` foresees, as tables."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from understudy.pipeline.stages.network_check import Finding

LOG_WIDTH = 150
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


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
