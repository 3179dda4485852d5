"""Texts and lines that several kinds of input are made of."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
TEST = "source,target\nheld out,the text\n"
"""A split that no case reads."""


def texts(*, controls: bool) -> st.SearchStrategy[str]:
    """Texts that examples may have: not blank, without zero characters, and without a byte order mark at their start.

    Args:
        controls: whether they may hold tabs, line breaks and other control characters.
    """
    characters = st.characters(exclude_categories=["Cs"] if controls else ["Cs", "Cc"], exclude_characters="\0")
    return st.text(characters, min_size=1, max_size=25).filter(
        lambda text: bool(text.strip()) and not text.startswith("\ufeff")
    )


def lines_of(records: Iterable[object], *, ascii_only: bool) -> bytes:
    """A JSON value per line."""
    return "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records).encode()
