"""A text made of a record's columns, such as `{context}; answer: {answers.text[0]}`.

What stands in braces is a place to look at, never an expression to run. Looking stands in `tasks/hub.py`.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_BRACES = re.compile(r"\{([^{}]*)\}")
_NAME = r"[^\s.:\[\]{}](?:[^.:\[\]{}]*[^\s.:\[\]{}])?"
_COLUMN = re.compile(rf"({_NAME}(?:\.{_NAME}|\[\d+\])*)(?::([1-9]\d*) words)?")
_STEP = re.compile(rf"\[(\d+)\]|({_NAME})")


@dataclass(frozen=True, slots=True)
class Column:
    """A place in a record, and how much of the text there is taken."""

    written: str
    """As the template has it, without braces."""
    path: tuple[str | int, ...]
    """The column's name, then keys and places (from 0) inside it."""
    words: int | None
    """Only so many words from the start; None: all."""


def parts_of(template: str) -> tuple[str | Column, ...]:
    """A template's texts and columns in their order.

    Args:
        template: text with columns in braces: `{name}`, `{name.key}`, `{name[0]}`, and `{name:300 words}` for the
            first words alone.

    Raises:
        ValueError: if it names no column, or braces hold something else; in one sentence.
    """
    pieces = _BRACES.split(template)
    texts, columns = pieces[::2], pieces[1::2]
    if any(brace in text for text in texts for brace in "{}"):
        msg = f"{template!r} has a brace without its other half; columns stand in pairs of braces, such as {{document}}"
        raise ValueError(msg)
    if not columns:
        msg = f"{template!r} names no column; write one in braces, such as {{document}}"
        raise ValueError(msg)
    parts: list[str | Column] = [texts[0]]
    for written, text in zip(columns, texts[1:], strict=True):
        parts += [_column(written), text]
    return tuple(part for part in parts if part != "")


def _column(written: str) -> Column:
    match = _COLUMN.fullmatch(written)
    if match is None:
        msg = (
            f"{{{written}}} is not the place of a column; write {{name}}, {{name.key}} or {{name[0]}}, and "
            "{name:300 words} for the first words alone"
        )
        raise ValueError(msg)
    path = tuple(int(place) if place else key for place, key in _STEP.findall(match[1]))
    return Column(written, path, int(match[2]) if match[2] else None)


def _checked(template: str) -> str:
    parts_of(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]
"""A text with columns in braces."""
