"""The records of a task's files under the task's field names, whatever format the files have.

A format that no recipe names is recognised by the keys of the first record, and a line says so; `chat_formats.py` has
the formats, and `files.py` decides which records are valid examples.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from understudy.config.task import Fields, Format
from understudy.errors import DataError
from understudy.progress import SILENT, Progress
from understudy.tasks.chat_formats import FORMATS, Reading, batch_requests, marks_of, refuse_other_keys
from understudy.tasks.chat_turns import conversation
from understudy.tasks.file_formats import ReadOptions, read_records
from understudy.tasks.record import Log, Record, listed, no_log

DEFAULT_FIELDS, DEFAULT_FORMAT = Fields(), Format()
COLUMNS = "columns"
"""The format of records that have the task's fields as they are."""
OTHER_COLUMNS = ("input", "history", "system", "error", "answered_by")
"""Columns that some formats read in addition to those by which they are recognised."""
MOST_SYSTEM_TEXTS = 1000
"""Different system texts that are counted; each is kept in memory."""


@dataclass(frozen=True)
class RecordSettings:
    """How the records of a task's files are read."""

    fields: Fields = DEFAULT_FIELDS
    """The names of the task's fields."""
    form: Format = DEFAULT_FORMAT
    """The format of each file, or `auto`, and its settings."""
    log: Log = no_log
    """Is called with what was recognised and what was left out."""
    progress: Progress = SILENT


def task_records(
    path: Path, settings: RecordSettings, *, split: str, labeled: bool, left_out: Counter[str] | None = None
) -> Iterator[Record]:
    """The records of a file under the task's field names.

    Args:
        path: the file.
        settings: how its records are read.
        split: which of the task's files it is.
        labeled: whether targets are read.
        left_out: counts the records without a usable response, by the reason.

    Raises:
        DataError: if the file or a record cannot be read, or the format is ambiguous.
    """
    fields, form, log = settings.fields, settings.form, settings.log
    options = ReadOptions(columns_of(fields), form.tsv_quotes, log)
    records = read_records(path, options)
    first = next(records, None)
    if first is None:
        return
    name = getattr(form, split)
    if name == "auto":
        name = recognised(first, fields, log)
    if name == COLUMNS:
        if not readable(first, fields, labeled=labeled):  # a message names all columns of the file
            yield from read_records(path, replace(options, columns=None))
        yield from chain([first], records)
        return
    requests = batch_requests(form.batch_requests) if name == "batch_output" and form.batch_requests else None
    reading = Reading(labeled, form.turns, requests)
    yield from converted(chain([first], records), name, reading, fields, path)
    say_what_was_left_out(reading, path, log)
    if left_out is not None:
        left_out.update(reading.left_out)


def columns_of(fields: Fields) -> frozenset[str]:
    """The columns that any format reads."""
    keys = {key for own in FORMATS.values() for marks in own.marks for key in (*marks, *own.id_keys, *own.absent)}
    named = {fields.id or "", fields.source, fields.target, fields.targets}
    return frozenset(keys | named | set(OTHER_COLUMNS))


def readable(first: Record, fields: Fields, *, labeled: bool) -> bool:
    """Whether the columns that are read include those the task needs."""
    has_target = fields.target in first.values or fields.targets in first.values
    return fields.source in first.values and (has_target or not labeled)


def recognised(first: Record, fields: Fields, log: Log) -> str:
    """The format of a file, by the keys of its first record.

    Raises:
        DataError: if the record fits several formats.
    """
    found = [name for name, own in FORMATS.items() if marks_of(own, first.values)]
    # A recipe that names the source's column means the column.
    if not found or (fields.source in first.values and fields.source != DEFAULT_FIELDS.source):
        return COLUMNS
    candidates = [COLUMNS, *found] if fields.source in first.values else found
    if len(candidates) > 1:
        raise DataError(
            f"{first.where}: the keys {listed(first.values)} fit the formats {' and '.join(candidates)}; set "
            "task.format to the one that is meant"
        )
    own, keys = FORMATS[found[0]], ", ".join(marks_of(FORMATS[found[0]], first.values))
    log(f"{first.where.rsplit(' ', 2)[0]}: recognised as {found[0]} (keys {keys}): {own.meaning}")
    return found[0]


def converted(records: Iterator[Record], name: str, reading: Reading, fields: Fields, path: Path) -> Iterator[Record]:
    """The records of a format under the task's field names; those without a usable answer are counted."""
    own, kept = FORMATS[name], 0
    for record in records:
        refuse_other_keys(record, name)
        answered = own.read(record, reading)
        found = conversation(answered.turns, record.where, reading.turns)
        if found.system and len(reading.systems) < MOST_SYSTEM_TEXTS:
            reading.systems.add(found.system)
        if isinstance(answered.answers, str):
            reading.left_out[answered.answers] += 1
            continue
        kept += 1
        values: dict[str, object] = {fields.source: found.source}
        if name_of_id := fields.id:
            keys = own.id_keys if name_of_id == DEFAULT_FIELDS.id else (name_of_id, *own.id_keys)
            ids = [record.values[key] for key in keys if record.values.get(key) is not None]
            values |= {name_of_id: ids[0]} if ids else {}
        if reading.labeled:
            values[fields.targets] = answered.answers
        yield Record(record.number, record.where, values)
    if reading.left_out and not kept:
        raise DataError(f"{path}: no record has a usable answer ({reasons(reading)}); give a file that has some")


def say_what_was_left_out(reading: Reading, path: Path, log: Log) -> None:
    """A line for each kind of thing that is in the file and not in the examples."""
    if reading.left_out:
        log(f"{path}: records without a usable answer are left out: {reasons(reading)}")
    if reading.systems:
        log(
            f"{path}: system turns are left out of the sources ({len(reading.systems)} different); put instructions "
            "into task.prompt, and those of an API teacher into teacher.endpoint.system"
        )


def reasons(reading: Reading) -> str:
    """Why records were left out, each with a count."""
    return ", ".join(f"{number} {reason}" for reason, number in reading.left_out.items())
