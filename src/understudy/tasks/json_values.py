"""Parses JSON as data files need it: repeated keys, enormous numbers and deep nesting are refused or marked."""

import json
from dataclasses import dataclass

from understudy.errors import DataError

MOST_DIGITS = 100
"""Digits of a whole number that is read as one. Python converts at most 4,300; no id needs a hundred."""
SHOWN_JSON = 60
"""Characters of a malformed text that a message shows."""


@dataclass(frozen=True, slots=True)
class LongNumber:
    """A whole number that is too long to be an id; in fields that are not read it does no harm."""

    digits: int

    def __repr__(self) -> str:
        return f"a number of {self.digits} digits"


class _RepeatedKeyError(Exception):
    """An object has a key twice."""


def json_value(text: str, where: str, *, remedy: str) -> object:
    """The value that a JSON text holds.

    Args:
        text: one JSON value.
        where: the file and the position in it, for messages.
        remedy: what to do if the text is malformed.

    Raises:
        DataError: if the text is malformed, nested too deeply, or an object in it has a key twice.
    """
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        shown = text[max(0, error.pos - SHOWN_JSON) : error.pos + SHOWN_JSON // 2] if line else text[:SHOWN_JSON]
        raise DataError(
            f"{where}: malformed JSON ({error.msg} at {line}column {error.colno}): {shown.strip()!r}; {remedy}"
        ) from None
    except _RepeatedKeyError as error:
        raise DataError(f"{where}: the key {str(error)!r} occurs twice in one object; keep one of them") from None
    except RecursionError:
        raise DataError(f"{where}: the JSON is nested too deeply to be read; remove the nested field") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return values


def _whole_number(text: str) -> int | LongNumber:
    digits = len(text.lstrip("-"))
    return int(text) if digits <= MOST_DIGITS else LongNumber(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number)
"""Made once: `json.loads` makes one for each text."""
