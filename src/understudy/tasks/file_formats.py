"""Readers of file formats: JSONL, CSV, TSV and Parquet files become records, each with its position in the file.

This module handles formats only. `files.py` decides what a source or a target is, and which records are refused.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from understudy.errors import DataError


class Record(NamedTuple):
    """One row of a file, not validated yet."""

    number: int
    """The line where it starts, or its row or item, from 1."""
    where: str
    """The file and the position in it, for messages."""
    values: Mapping[str, object]


def read_records(path: Path) -> Iterator[Record]:
    """The rows of a file, read by the reader for its suffix.

    Args:
        path: a file whose name ends with one of `READERS`.

    Yields:
        Records in the order of the file.

    Raises:
        DataError: if the file is missing, its suffix unknown, or a row cannot be read.
    """
    yield from reader_of(path)(path)


def reader_of(path: Path) -> Callable[[Path], Iterator[Record]]:
    """The reader for a file's suffix.

    Raises:
        DataError: if there is none, or no such file.
    """
    reader = next((read for suffix, read in READERS.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        raise DataError(f"{path}: no reader for this suffix; use one of {', '.join(READERS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; relative paths in a recipe start at the recipe's folder")
    return reader


def read_jsonl(path: Path) -> Iterator[Record]:
    """One JSON object per line."""
    with path.open("rb") as file:
        yield from json_lines(file, path)


def read_jsonl_gz(path: Path) -> Iterator[Record]:
    """One JSON object per line, gzipped."""
    try:
        with gzip.open(path, "rb") as file:
            yield from json_lines(file, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: not a complete gzip file ({error}); compress it again, or name it .jsonl if it is not compressed"
        ) from error


def read_csv(path: Path) -> Iterator[Record]:
    """Comma-separated cells under a header row, quoted as spreadsheets do."""
    yield from table_rows(path, delimiter=",")


def read_tsv(path: Path) -> Iterator[Record]:
    """Tab-separated cells under a header row, quoted as spreadsheets do."""
    yield from table_rows(path, delimiter="\t")


def read_parquet(path: Path) -> Iterator[Record]:
    """The rows of a Parquet table."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as table:
            for batch in table.iter_batches():
                for number, values in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020 the count continues over batches
                    yield Record(number, f"{path} row {number}", values)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); write it again") from error


def json_lines(file: Iterable[bytes], path: Path) -> Iterator[Record]:
    """One record per line of a binary file."""
    for number, line in enumerate(decoded_lines(file, path), start=1):
        where = f"{path} line {number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: malformed JSON ({error.msg} at column {error.colno}): {line.strip()[:60]!r}; "
                "write one JSON object per line"
            ) from error
        if not isinstance(values, dict):
            raise DataError(
                f"{where}: found a JSON {type(values).__name__}, not an object; "
                'write lines like {"source": "...", "target": "..."}'
            )
        yield Record(number, where, values)


def table_rows(path: Path, *, delimiter: str) -> Iterator[Record]:
    """One record per row below the header. A row starts at the line after the last line of the row before it."""
    with path.open("rb") as file:
        rows = csv.reader(decoded_lines(file, path), delimiter=delimiter, strict=True)
        start = 1
        try:
            header = next(rows, [])
            if len(set(header)) < len(header):
                raise DataError(f"{path} line 1: a column name occurs twice in {header}; rename one of them")
            start = rows.line_num + 1
            for cells in rows:
                if len(cells) != len(header):
                    raise DataError(
                        f"{path} line {start}: found {len(cells)} cells under {len(header)} column names; "
                        "quote cells that contain the delimiter, and remove empty lines"
                    )
                yield Record(start, f"{path} line {start}", dict(zip(header, cells, strict=True)))
                start = rows.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{path} line {start}: not a row of cells ({error}); fix its quotes or use JSONL"
            ) from error


def decoded_lines(file: Iterable[bytes], path: Path) -> Iterator[str]:
    """UTF-8 lines, without the byte order mark that spreadsheets write."""
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} line {number}: byte {error.object[error.start]:#04x} is not UTF-8; save the file as UTF-8"
            ) from error


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl_gz,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
