import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.errors import DataError
from understudy.tasks.file_formats import ReadOptions, read_records

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
    ".json": lambda path: path.write_text(json.dumps(ROWS)),
    ".parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_reads_what_an_independent_writer_wrote(tmp_path: Path, suffix: str) -> None:
    """Quotes, delimiters, line breaks and umlauts survive in each format."""
    path = tmp_path / f"train{suffix}"
    WRITERS[suffix](path)

    assert [record.values for record in read_records(path, ReadOptions(tsv_quotes=True))] == ROWS


def test_a_table_row_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    """After a cell that spans lines 2 and 3, the next record is on line 4."""
    path = tmp_path / "train.csv"
    path.write_text('source,target\n"a\nb",c\nd,e\n', encoding="utf-8")

    assert [record.number for record in read_records(path)] == [2, 4]


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
    "a blank line": ("t.jsonl", b"\n" + LINES, r"t\.jsonl line 1: blank, with records below it; remove"),
    "two arrays": ("t.json", b"[]\n[]", r"t\.json: malformed JSON \(Extra data at line 2 column 1\).*\.jsonl"),
    "an object of splits": ("t.json", b"{}", r"t\.json: found a JSON object, not an array.*kd4gen"),
    "an item that is no object": ("t.json", b"[{}, 5]", r"t\.json item 2: found a JSON int, not an object"),
    "a repeated key": ("t.jsonl", b'{"a": 1, "b": {"c": 1, "c": 2}}', r"t\.jsonl line 1: the key 'c' occurs twice"),
    "deep nesting": ("t.jsonl", b'{"a": ' + b"[" * 100_000, r"t\.jsonl line 1: .*nested too deeply"),
    "semicolons": (
        "t.csv",
        b"source;target\na;b\n",
        r"t\.csv line 1: .*'source;target'.*semicolons; a \.csv file.*commas",
    ),
    "tabs in CSV": ("t.csv", b"source\ttarget\na\tb\n", r"t\.csv line 1: .*contains tabs"),
    "commas in TSV": ("t.tsv", b"source,target\na,b\n", r"t\.tsv line 1: .*contains commas; a \.tsv file.*tabs"),
    "old line ends": ("t.tsv", b"source\ttarget\ra\tb\r", r"t\.tsv line 1: .*carriage return alone; convert"),
    "a lone carriage return": ("t.csv", b"source,target\na\rb,c\n", r"t\.csv line 2: .*new-line.*line ends"),
    "a long row": ("t.tsv", b"source\ttarget\na\tb\tc\n", r"t\.tsv line 2: found 3 cells under 2.*tabs as spaces"),
    "a list": ("t.jsonl", b"[1]\n", r"t\.jsonl line 1: found a JSON list.*source"),
    "Latin-1 in a table": ("t.csv", b"source\na\n\xfc\n", r"t\.csv line 3: byte 0xfc at offset 9 .*UTF-8"),
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


def test_quotation_marks_in_tsv_are_text(tmp_path: Path) -> None:
    """A mark that opens inside or at the start of a cell swallows no line; every line is a row, as `cut` counts."""
    path = tmp_path / "train.tsv"
    lines = ['5" screen\tsmall', '"quoted" word\tb', '"open\tc', 'd\te"']
    path.write_text("source\ttarget\n" + "\n".join(lines) + "\n", encoding="utf-8")

    assert [tuple(record.values.values()) for record in read_records(path)] == [
        tuple(line.split("\t")) for line in lines
    ]
    assert [record.number for record in read_records(path)] == [2, 3, 4, 5]


def test_cells_that_look_quoted_are_kept_and_said(tmp_path: Path) -> None:
    """Spreadsheets quote; a line names the setting that reads such files."""
    path, log = tmp_path / "train.tsv", list[str]()
    path.write_text('source\ttarget\n"a ""b"""\tc\n', encoding="utf-8")

    plain = [record.values["source"] for record in read_records(path, ReadOptions(log=log.append))]
    quoted = [record.values["source"] for record in read_records(path, ReadOptions(tsv_quotes=True))]
    assert (plain, quoted) == (['"a ""b"""'], ['a "b"'])
    assert "1 rows have cells in quotation marks" in log[0]
    assert "tsv_quotes" in log[0]


def test_numbers_that_no_field_needs_do_no_harm(tmp_path: Path) -> None:
    """Python refuses to convert 5,000 digits; infinite and nested values in other columns are not read."""
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"source": "a", "id": 7, "n": {"9" * 5000}, "x": 1e999, "y": NaN}}\n', encoding="utf-8")

    values = next(read_records(path)).values
    assert (values["source"], values["id"], repr(values["n"])) == ("a", 7, "a number of 5000 digits")


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """One of them would be read, and which is up to the library."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["source", "source"]), path)

    with pytest.raises(DataError, match=r"t\.parquet: a column name occurs twice in \['source', 'source'\]; rename"):
        list(read_records(path))


def test_damaged_parquet_names_are_refused(tmp_path: Path) -> None:
    """One byte of a column's name that is not UTF-8 makes the library fail while it opens the file."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a_source": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"a_source", b"\xff_source"))

    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file \(.*utf-8.*write it again"):
        list(read_records(path))


BAD_CELLS = {
    "invalid UTF-8": pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    ),
    "a date after year 9999": pa.array([0, 10**8], pa.int32()).cast(pa.date32()),
    "a time after year 9999": pa.array([0, 10**12], pa.int64()).cast(pa.timestamp("s")),
}


@pytest.mark.parametrize("column", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_parquet_cell_without_a_python_value_is_refused(tmp_path: Path, column: pa.Array) -> None:
    """The message has the row and the column; in a column that is not needed it is not read."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"source": ["a", "b"], "when": column}), path)

    with pytest.raises(DataError, match=r"t\.parquet row 2: 'when' cannot be read"):
        list(read_records(path))
    needed = ReadOptions(columns=frozenset({"source", "target"}))
    assert [record.values for record in read_records(path, needed)] == [{"source": "a"}, {"source": "b"}]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path and the folder where relative paths start."""
    with pytest.raises(DataError, match=r"none\.jsonl: no such file.*recipe's folder"):
        list(read_records(tmp_path / "none.jsonl"))
