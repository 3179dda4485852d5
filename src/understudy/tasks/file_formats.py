"""Readers of file formats: JSONL, JSON, CSV, TSV and Parquet files become records, each with its position in the file.

This module handles files only. `record_formats.py` decides what a record holds (columns, a conversation, a request with
its response), and `files.py` which records are valid examples.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy.errors import DataError
from understudy.tasks.json_values import json_value
from understudy.tasks.record import Log, Record, no_log
from understudy.tasks.tables import csv_records, parquet_records, tsv_records
from understudy.tasks.text_lines import check_file, opened, text_lines, without_blank_end


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, where a format leaves a choice."""

    columns: frozenset[str] | None = None
    """The columns of a Parquet file to read, where they exist; None for all."""
    tsv_quotes: bool = False
    """Whether quotation marks in TSV files quote cells; otherwise each line is a row."""
    log: Log = no_log
    """Is called with what the user should know about a file."""


DEFAULT_OPTIONS = ReadOptions()


def read_records(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """The rows of a file, read by the reader for its suffix.

    Args:
        path: a file whose name ends with one of `READERS`.
        options: choices that some formats leave.

    Yields:
        Records in the order of the file.

    Raises:
        DataError: if the file is missing, its suffix unknown, or a row cannot be read.
    """
    yield from reader_of(path)(path, options)


def reader_of(path: Path) -> "Reader":
    """The reader for a file's suffix.

    Raises:
        DataError: if there is none, no such file, or a file that cannot be opened.
    """
    reader = next((read for suffix, read in READERS.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        check_file(path)
        raise DataError(f"{path}: no reader for this suffix; use one of {', '.join(READERS)}")
    check_file(path)
    return reader


def read_jsonl(path: Path, _: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """One JSON object per line."""
    with opened(path) as file:
        yield from json_lines(file, path)


def read_jsonl_gz(path: Path, _: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """One JSON object per line, gzipped."""
    with opened(path) as packed:
        try:
            with gzip.open(packed, "rb") as file:
                yield from json_lines(file, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{path}: not a complete gzip file ({error}); compress it again, or name it .jsonl if it is not "
                "compressed"
            ) from error


def read_json_array(path: Path, _: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """One JSON array of objects."""
    content = json_file(path, remedy="write one array of objects, or name a file with an object per line .jsonl")
    if not isinstance(content, list):
        raise DataError(
            f"{path}: found a JSON {kind_of(content)}, not an array of objects; write [{{...}}, {{...}}], or name a "
            "file of the KD4Gen code as task.files.kd4gen"
        )
    for number, values in enumerate(content, start=1):
        yield Record(number, f"{path} item {number}", checked_object(values, f"{path} item {number}"))


def read_csv(path: Path, _: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """Comma-separated cells under a header row, quoted as spreadsheets do."""
    return csv_records(path)


def read_tsv(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """Tab-separated cells under a header row."""
    return tsv_records(path, quotes=options.tsv_quotes, log=options.log)


def read_parquet(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Iterator[Record]:
    """The rows of a Parquet table."""
    return parquet_records(path, options.columns)


def json_lines(file: Iterable[bytes], path: Path) -> Iterator[Record]:
    """One record per line of a binary file."""
    for number, line in enumerate(without_blank_end(text_lines(file, path)), start=1):
        where = f"{path} line {number}"
        if not line.strip():
            raise DataError(f"{where}: blank, with records below it; remove the line")
        values = json_value(line, where, remedy="write one JSON object per line")
        yield Record(number, where, checked_object(values, where))


def json_file(path: Path, *, remedy: str) -> object:
    """The value in a JSON file."""
    with opened(path) as file:
        return json_value("".join(text_lines(file, path)), str(path), remedy=remedy)


def checked_object(values: object, where: str) -> dict[str, object]:
    """The value, if it is a JSON object."""
    if not isinstance(values, dict):
        raise DataError(
            f"{where}: found a JSON {kind_of(values)}, not an object; "
            'write objects like {"source": "...", "target": "..."}'
        )
    return values


def kind_of(value: object) -> str:
    """What a message calls a JSON value."""
    return {"dict": "object", "NoneType": "null", "LongNumber": "int"}.get(type(value).__name__, type(value).__name__)


Reader = Callable[[Path, ReadOptions], Iterator[Record]]
READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl_gz,
    ".json": read_json_array,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
