"""Templates that build a text from a record's columns, such as `{context}; answer: {answers.text[0]}`.

This module parses them; `tasks/hub.py` fills them in. Braces hold the path of a column, never code to run.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_BRACES = re.compile(r"\{([^{}]*)\}")
_NAME = r"[^\s.:\[\]{}](?:[^.:\[\]{}]*[^\s.:\[\]{}])?"
_COLUMN = re.compile(rf"({_NAME}(?:\.{_NAME}|\[(?:\d+|user|assistant)\])*)(?::([1-9]\d*) words)?")
_STEP = re.compile(rf"\[(\d+)\]|\[(\w+)\]|({_NAME})")


@dataclass(frozen=True, slots=True)
class Role:
    """A step into a list of messages: the last one of a role."""

    name: str
    """user or assistant."""


@dataclass(frozen=True, slots=True)
class Column:
    """The path of a column in a record, and how much of its text is used."""

    written: str
    """The text between the braces."""
    path: tuple[str | int | Role, ...]
    """The column's name, then keys, indices (from 0) and roles inside it."""
    words: int | None
    """Number of words taken from the start; None: all."""


def parts_of(template: str) -> tuple[str | Column, ...]:
    """Parses a template into its texts and columns, in order.

    Args:
        template: text with columns in braces: `{name}`, `{name.key}`, `{name[0]}`, `{messages[user].content}` for the
            last message of a role, and `{name:300 words}` for the first words.

    Raises:
        ValueError: if it names no column, or braces hold something else.
    """
    split = _BRACES.split(template)
    texts, columns = split[::2], split[1::2]
    if any(brace in text for text in texts for brace in "{}"):
        msg = f"{template!r} has an unmatched brace; write each column in a pair of braces, such as {{document}}"
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
            f"{{{written}}} is not the path of a column; write {{name}}, {{name.key}} or {{name[0]}}, "
            "{messages[user].content} for the last message of a role, and {name:300 words} for the first 300 words"
        )
        raise ValueError(msg)
    path = tuple(int(index) if index else Role(role) if role else key for index, role, key in _STEP.findall(match[1]))
    return Column(written, path, int(match[2]) if match[2] else None)


def _checked(template: str) -> str:
    parts_of(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]
"""A text with column paths in braces."""
