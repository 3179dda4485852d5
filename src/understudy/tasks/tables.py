"""Readers of tables: CSV, TSV and Parquet files become records."""

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import DataError, first_line
from understudy.tasks.record import Log, Record, no_log
from understudy.tasks.text_lines import check_file, opened, text_lines, without_blank_end

if TYPE_CHECKING:
    from pyarrow import RecordBatch

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What may separate the cells of a table, and what a message calls it."""
NumberedRow = tuple[int, list[str]]
"""The line where a row starts, and its cells."""


def csv_records(path: Path) -> Iterator[Record]:
    """The rows of a CSV file under its header, with cells quoted as spreadsheets do."""
    with opened(path) as file:
        yield from table_records(quoted_rows(without_blank_end(text_lines(file, path)), path, ","), path, ",")


def tsv_records(path: Path, *, quotes: bool, log: Log = no_log) -> Iterator[Record]:
    """The rows of a TSV file under its header.

    Args:
        path: the file.
        quotes: whether quotation marks quote cells, as in CSV; otherwise they are text, and each line is a row.
        log: is called if cells look quoted although `quotes` is false.
    """
    with opened(path) as file:
        lines = without_blank_end(text_lines(file, path))
        rows = quoted_rows(lines, path, "\t") if quotes else plain_rows(lines, path, log)
        yield from table_records(rows, path, "\t")


def table_records(rows: Iterator[NumberedRow], path: Path, delimiter: str) -> Iterator[Record]:
    """One record per row below the header."""
    _, header = next(rows, (1, []))
    refuse_repeated(header, f"{path} line 1")
    refuse_other_delimiter(header, path, delimiter)
    for start, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path} line {start}: found {len(cells)} cells under {len(header)} column names; "
                + ("quote cells that contain the delimiter, and " if delimiter == "," else "write tabs as spaces, and ")
                + "remove empty lines"
            )
        yield Record(start, f"{path} line {start}", dict(zip(header, cells, strict=True)))


def quoted_rows(lines: Iterable[str], path: Path, delimiter: str) -> Iterator[NumberedRow]:
    """The rows of a table with quotation marks; a row starts at the line after the last line of the row before it."""
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in rows:
            yield start, cells
            start = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} line {start}: not a row of cells ({error}); fix its quotes and line ends, or use JSONL"
        ) from error


def plain_rows(lines: Iterable[str], path: Path, log: Log) -> Iterator[NumberedRow]:
    """The rows of a table in which quotation marks are text: one for each line."""
    quoted = 0
    for number, line in enumerate(lines, start=1):
        cells = line.removesuffix("\n").removesuffix("\r").split("\t")
        quoted += any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
        yield number, cells
    if quoted:
        log(
            f"{path}: {quoted} rows have cells in quotation marks, which are kept as text; if they quote the cells, "
            "set task.format.tsv_quotes to true"
        )


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Refuses a table in which two columns have one name."""
    if len(set(names)) < len(names):
        raise DataError(f"{where}: a column name occurs twice in {list(names)!r:.200}; rename one of them")


def refuse_other_delimiter(header: Sequence[str], path: Path, delimiter: str) -> None:
    """Refuses a table whose one column name holds another delimiter, or the line ends of old systems."""
    if any("\r" in name for name in header):
        raise DataError(f"{path} line 1: the lines end with a carriage return alone; convert the line ends to \\n")
    found = [other for other in DELIMITERS if other in "".join(header)] if len(header) == 1 else []
    if found:
        raise DataError(
            f"{path} line 1: found one column, {header[0]!r:.80}, whose name contains {DELIMITERS[found[0]]}; a "
            f"{path.suffix} file separates cells by {DELIMITERS[delimiter]}: save it with these, or use JSONL"
        )


def parquet_records(path: Path, columns: Collection[str] | None) -> Iterator[Record]:
    """The rows of a Parquet table.

    Args:
        path: the file.
        columns: the columns to read, where they exist; None for all.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    check_file(path)
    number = 0
    try:
        with ParquetFile(path) as table:
            names = table.schema_arrow.names
            refuse_repeated(names, str(path))
            wanted = names if columns is None else [name for name in names if name in columns] or names
            for batch in table.iter_batches(columns=wanted):
                for number, values in enumerate(rows_of(batch, number, path), start=number + 1):  # noqa: B020 the count continues over batches
                    yield Record(number, f"{path} row {number}", values)
    except DataError:
        raise
    except (ArrowException, OSError, ValueError) as error:  # a ValueError for names of columns that are not UTF-8
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)}); write it again") from error


def rows_of(batch: "RecordBatch", before: int, path: Path) -> list[dict[str, object]]:
    """The rows of a batch as Python values; `before` rows of the file come before it.

    Raises:
        DataError: naming the first cell that has no Python value: bytes that are not UTF-8, a date before year 1.
    """
    try:
        rows: list[dict[str, object]] = batch.to_pylist()
    except (ValueError, OverflowError):
        for row in range(batch.num_rows):
            for name in batch.schema.names:
                try:
                    batch[name][row].as_py()
                except (ValueError, OverflowError) as error:
                    raise DataError(
                        f"{path} row {before + row + 1}: {name!r} cannot be read ({first_line(error)}); write the "
                        "column again, as UTF-8 text"
                    ) from None
        raise
    return rows
