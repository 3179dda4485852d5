"""Decides which records are valid examples: their id, their source, their targets."""

import ast

from understudy.config.task import Fields
from understudy.errors import DataError, did_you_mean
from understudy.tasks.json_values import MOST_DIGITS, LongNumber
from understudy.tasks.record import Record, listed


def id_of(record: Record, field: str | None, split: str) -> str:
    """The record's id, or one made of split and line."""
    value = None if field is None else record.values.get(field)
    if value is None:
        return f"{split}-{record.number}"
    if isinstance(value, LongNumber):
        raise DataError(f"{record.where}: {field!r} is {value!r}; an id has at most {MOST_DIGITS}: write it as a text")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{record.where}: {field!r} is {value!r:.60}; an id must be a text or a whole number")
    return whole_characters(record, field or "", str(value))


def targets_of(record: Record, fields: Fields) -> tuple[str, ...]:
    """The record's targets, at least one."""
    given = [name for name in (fields.target, fields.targets) if record.values.get(name) is not None]
    if len(given) > 1:
        raise DataError(f"{record.where}: has both {given[0]!r} and {given[1]!r}; keep one of them")
    if not given:
        if null := record.values.keys() & {fields.target, fields.targets}:
            raise DataError(f"{record.where}: {min(null)!r} is null; give a target or move it to unlabeled")
        raise missing_field(record, fields.target, "task.fields.target")
    value = record.values[given[0]]
    if given[0] == fields.targets and isinstance(value, str):
        refuse_printed_list(record, given[0], value, fields.target)
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise DataError(f"{record.where}: {given[0]!r} is an empty list; give a target or move it to unlabeled")
    return tuple(checked_text(record, given[0], text) for text in texts)


def refuse_printed_list(record: Record, field: str, value: str, single: str) -> None:
    """Refuses a list that a program printed into a cell: it would be read as one target."""
    if value.strip()[:1] + value.strip()[-1:] != "[]":
        return
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if isinstance(found, list):
        raise DataError(
            f"{record.where}: {field!r} is the text of a list, {value.strip()!r:.60}, and would be one target; write "
            f"one row for each target under {single!r} (rows of one source are merged), or JSONL with "
            f'"{field}": ["...", "..."]'
        )


def text_of(record: Record, field: str) -> str:
    """The record's source."""
    if field not in record.values:
        raise missing_field(record, field, "task.fields.source")
    return checked_text(record, field, record.values[field])


def checked_text(record: Record, field: str, value: object) -> str:
    """The value, if it is a text that is not blank."""
    if not isinstance(value, str):
        raise DataError(f"{record.where}: {field!r} is {value!r:.60}, a {type(value).__name__}; it must be a text")
    if not value.strip():
        raise DataError(f"{record.where}: {field!r} is empty; fill it in or remove the record")
    if "\0" in value:
        raise DataError(f"{record.where}: {field!r} contains a zero character (\\u0000); remove it")
    return whole_characters(record, field, value)


def whole_characters(record: Record, field: str, value: str) -> str:
    """The value, if UTF-8 can encode all of it."""
    if not value.isascii() and (halves := [character for character in value if "\ud800" <= character <= "\udfff"]):
        raise DataError(
            f"{record.where}: {field!r} holds {halves[0]!r}, half of a character (a text truncated within an emoji?), "
            "which UTF-8 cannot encode; fix the text or remove the record"
        )
    return value


def missing_field(record: Record, field: str, setting: str) -> DataError:
    """The error for a missing field: the fields found, and the closest name among them."""
    hint = did_you_mean(field, record.values)
    return DataError(f"{record.where}: no {field!r}, found: {listed(record.values)}; {setting} names the field{hint}")
