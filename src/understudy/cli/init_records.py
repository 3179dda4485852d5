"""Recorded requests as the data of a task: what a teacher answered is labeled, what a student answered is unlabeled."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.config.task import Format
from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.chat_formats import Reading
from understudy.tasks.guards import normalized
from understudy.tasks.record import Log, Record, no_log
from understudy.tasks.task_records import RecordSettings, converted, say_what_was_left_out

if TYPE_CHECKING:
    from understudy.tasks.file_description import FileDescription

RECORDS_FORMAT = "request_log"


def is_recorded(path: Path) -> bool:
    """Whether a path is a folder, which only records may be read from, or a file of records."""
    from understudy.serving.record_files import is_record_file

    return path.is_dir() or is_record_file(path)


def describe_records(path: Path, form: Format, log: Log) -> "tuple[FileDescription, list[Example]]":
    """Reads a folder of records, or a file of it.

    Args:
        path: of --keep-texts.
        form: what is done with several turns.
        log: is called with what was read and left out.

    Returns:
        The inputs with the teacher's answers as targets, and other inputs, which a student answered: its answers are
        no targets. Without an answer of a teacher, both hold the inputs.

    Raises:
        DataError: if a record cannot be read, or there is none.
    """
    teacher, student = distinct_records(path, log)
    if not teacher and not student:
        raise DataError(f"{path}: holds no record of a request; serve some requests first")
    if not teacher:
        described = _described(student, path, form, log, labeled=False)
        return described, unlabeled_examples(described, described.targets)
    described = _described(teacher, path, form, log, labeled=True)
    if not student:
        return described, []
    known = {normalized(source) for source in described.targets}
    others = _described(student, path, form, no_log, labeled=False)
    sources = [source for source in others.targets if normalized(source) not in known]
    log(f"{path}: {len(sources)} inputs that a student answered are unlabeled; its answers are left out")
    return described, unlabeled_examples(others, sources)


def distinct_records(path: Path, log: Log) -> tuple[list[Record], list[Record]]:
    """The records that a teacher answered and those that a student answered, each text once."""
    from understudy.serving.record_files import record_files, stored_lines

    counts: Counter[str] = Counter()
    seen: set[object] = set()
    records: dict[bool, list[Record]] = {True: [], False: []}
    files = record_files(path)
    for line in (line for file in files for line in stored_lines(file)):
        if line.values is None:
            counts["truncated line"] += 1
        elif not line.is_record or line.digest in seen:
            counts["repetition"] += 1
        else:
            seen.add(line.digest)
            by_student = line.values.get("answered_by") == "student"
            records[by_student].append(Record(len(seen), line.where, line.values))
    left_out = ", ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in sorted(counts.items()))
    log(f"{path}: {len(seen)} records in {len(files)} files" + (f"; left out: {left_out}" if left_out else ""))
    return records[False], records[True]


def unlabeled_examples(described: "FileDescription", sources: Iterable[str]) -> list[Example]:
    """Inputs of a description without targets."""
    ids = described.ids
    return [Example(ids.get(source, f"unlabeled-{number}"), source) for number, source in enumerate(sources)]


def _described(records: list[Record], path: Path, form: Format, log: Log, *, labeled: bool) -> "FileDescription":
    from understudy.tasks.file_description import description_of

    settings = RecordSettings(form=form)
    reading = Reading(labeled, form.turns)
    given = converted(iter(records), RECORDS_FORMAT, reading, settings.fields, path)
    described = description_of(given, path, settings, RECORDS_FORMAT, labeled=labeled)
    say_what_was_left_out(reading, path, log)
    return described
