"""A record: one row of a data file, with its position, not validated yet."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

Log = Callable[[str], None]
"""What readers call with a line that the user should see."""


class Record(NamedTuple):
    """One row of a file, not validated yet."""

    number: int
    """The line where it starts, or its row or item, from 1."""
    where: str
    """The file and the position in it, for messages."""
    values: Mapping[str, object]


def no_log(message: str) -> None:
    """Discards a line."""
