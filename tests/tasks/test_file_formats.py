import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.errors import DataError
from understudy.tasks.file_formats import read_records

ROWS = [{"source": "eins", "target": 'a "b", c'}, {"source": "zwei\nzeilen", "target": "ü"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def write_table(path: Path, delimiter: str) -> None:
    """Writes the rows with the standard library."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["source", "target"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


WRITERS: dict[str, Callable[[Path], object]] = {
    ".jsonl": lambda path: path.write_bytes(LINES),
    ".jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    ".csv": lambda path: write_table(path, ","),
    ".tsv": lambda path: write_table(path, "\t"),
    ".parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_reads_what_an_independent_writer_wrote(tmp_path: Path, suffix: str) -> None:
    """Quotes, delimiters, line breaks and umlauts survive in each format."""
    path = tmp_path / f"train{suffix}"
    WRITERS[suffix](path)

    assert [record.values for record in read_records(path)] == ROWS


def test_a_table_row_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    """After a cell that spans lines 2 and 3, the next record is on line 4."""
    path = tmp_path / "train.csv"
    path.write_text('source,target\n"a\nb",c\nd,e\n', encoding="utf-8")

    assert [record.number for record in read_records(path)] == [2, 4]


def test_a_byte_order_mark_is_not_part_of_the_first_column_name(tmp_path: Path) -> None:
    """A CSV saved as "UTF-8 with BOM" has the column `source`."""
    path = tmp_path / "train.csv"
    path.write_text("source\na\n", encoding="utf-8-sig")

    assert next(read_records(path)).values == {"source": "a"}


def test_parquet_rows_are_counted_over_batches(tmp_path: Path) -> None:
    """Row numbers continue over row groups."""
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"source": ["a", "b", "c"]}), path, row_group_size=2)

    assert [(record.number, record.values["source"]) for record in read_records(path)] == [(1, "a"), (2, "b"), (3, "c")]


REFUSED = {
    "malformed JSON": (
        "t.jsonl",
        LINES + b'{"source": \n',
        r"t\.jsonl line 3: malformed JSON .*'\{\"source\":'.*one JSON object per line",
    ),
    "an empty line": ("t.jsonl", LINES + b"\n", r"t\.jsonl line 3: malformed JSON"),
    "a list": ("t.jsonl", b"[1]\n", r"t\.jsonl line 1: found a JSON list.*source"),
    "Latin-1": ("t.jsonl", LINES + b'{"source": "\xfc"}', r"t\.jsonl line 3: byte 0xfc.*UTF-8"),
    "Latin-1 in a table": ("t.csv", b"source\na\n\xfc\n", r"t\.csv line 3: byte 0xfc.*UTF-8"),
    "plain text as gzip": ("t.jsonl.gz", LINES, r"t\.jsonl\.gz: .*gzip.*compress it again.*\.jsonl"),
    "half a gzip": ("t.jsonl.gz", gzip.compress(LINES)[:-9], r"t\.jsonl\.gz: .*gzip"),
    "a short row": ("t.csv", b"source,target\na,b\nc\n", r"t\.csv line 3: found 1 cells under 2 column names.*quote"),
    "an open quote": ("t.csv", b'source\na\n"b\n', r"t\.csv line 3: .*quotes.*JSONL"),
    "equal columns": ("t.tsv", b"a\ta\n", r"t\.tsv line 1: .*\['a', 'a'\].*rename"),
    "text as Parquet": ("t.parquet", LINES, r"t\.parquet: .*Parquet"),
    "an unknown suffix": ("t.txt", b"a", r"t\.txt: .*suffix.*\.jsonl, .*\.parquet"),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_does_not_have_the_format_of_its_suffix_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """The message has the file, the line if there is one, what was found, and a remedy."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(DataError, match=message):
        list(read_records(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path and the folder where relative paths start."""
    with pytest.raises(DataError, match=r"none\.jsonl: no such file.*recipe's folder"):
        list(read_records(tmp_path / "none.jsonl"))
