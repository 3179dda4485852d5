"""A record: one row of a data file, with its position, not validated yet."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

MOST_NAMES, LONGEST_NAME = 20, 40
Log = Callable[[str], None]
"""What readers call with a line that the user should see."""


class Record(NamedTuple):
    """One row of a file, not validated yet."""

    number: int
    """The line where it starts, or its row or item, from 1."""
    where: str
    """The file and the position in it, for messages."""
    values: Mapping[str, object]


def listed(names: Iterable[str]) -> str:
    """Names of fields for a message: at most `MOST_NAMES`, each short and without control characters."""
    shown = [name if name.isprintable() else repr(name) for name in names]
    short = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown[:MOST_NAMES]]
    return ", ".join([*short, *(["..."] if len(shown) > MOST_NAMES else [])]) or "nothing"


def no_log(message: str) -> None:
    """Discards a line."""
