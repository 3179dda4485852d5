"""What is to be learned: examples from the user's files, the hub or the embedded task `forecast`, and guards on them.

Nothing here knows models or tokens.
"""

from collections.abc import Callable

from understudy.tasks.files import Loaded, load_files, read_examples
from understudy.tasks.forecast import forecast_task
from understudy.tasks.forecast_check import SlotErrors, check_bulletin
from understudy.tasks.guards import Leak, describe, drop_leaks, find_leaks, refuse_leaks
from understudy.tasks.hub import load_hub
from understudy.tasks.kd4gen import load_kd4gen

CHECKERS: dict[str, Callable[[str, str], SlotErrors]] = {
    "forecast": check_bulletin,
}
"""Readers of facts: given a source and a text, what the text got wrong."""

__all__ = [
    "CHECKERS",
    "Leak",
    "Loaded",
    "SlotErrors",
    "check_bulletin",
    "describe",
    "drop_leaks",
    "find_leaks",
    "forecast_task",
    "load_files",
    "load_hub",
    "load_kd4gen",
    "read_examples",
    "refuse_leaks",
]
