"""Data files of all formats: rows that must be read as they were written, and files with one fault."""

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain
from scripts.fuzzing.texts import TEST, Draw, lines_of, texts

from understudy.tasks import load_files

Rows = list[dict[str, Any]]
Bytes = Callable[[Rows], bytes]


def as_jsonl(rows: Rows) -> bytes:
    """A JSON object per line."""
    return lines_of(rows, ascii_only=False)


def as_csv(rows: Rows) -> bytes:
    """Comma-separated, quoted where it is needed."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["id", "source", "target"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_tsv(rows: Rows) -> bytes:
    """Tab-separated, without quotation."""
    return "".join(
        "\t".join(cells) + "\n" for cells in (("id", "source", "target"), *(tuple(row.values()) for row in rows))
    ).encode()


def as_parquet(rows: Rows) -> bytes:
    """One row group."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


FORMATS: dict[str, Bytes] = {
    ".jsonl": as_jsonl,
    ".jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".parquet": as_parquet,
}
JSON_LINES: dict[str, str] = {
    "half a line": '{"source": "a',
    "a list": "[1]",
    "a text": '"a"',
    "a number": "3",
    "null": "null",
    "no source": '{"target": "b"}',
    "null source": '{"source": null, "target": "b"}',
    "a number as source": '{"source": 3, "target": "b"}',
    "a list as source": '{"source": ["a"], "target": "b"}',
    "a blank source": '{"source": " ", "target": "b"}',
    "half a character": '{"source": "\\ud83d", "target": "b"}',
    "no target": '{"source": "a b c"}',
    "null target": '{"source": "a b c", "target": null}',
    "no targets": '{"source": "a b c", "targets": []}',
    "a number among targets": '{"source": "a b c", "targets": ["a", 3]}',
    "target and targets": '{"source": "a b c", "target": "a", "targets": ["b"]}',
    "a repeated key": '{"source": "a", "source": "b", "target": "c"}',
    "deep brackets": '{"source": "a b c", "target": "b", "more": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "a number of 5,000 digits": '{"source": "a b c", "target": "b", "id": ' + "9" * 5000 + "}",
    "a boolean id": '{"source": "a b c", "target": "b", "id": true}',
    "a broken number": '{"source": "a b c", "target": "b", "id": 0x10}',
    "two objects": '{"source": "a b c", "target": "b"}{"source": "d", "target": "b"}',
}
"""Fault -> a line in a JSONL file."""


@dataclass(frozen=True)
class Fault:
    """A change of the bytes of a file."""

    suffixes: tuple[str, ...]
    change: Callable[[bytes], bytes]


TEXT_FILES = (".jsonl", ".csv", ".tsv")
FAULTS: dict[str, Fault] = {
    "an invalid byte": Fault(TEXT_FILES, lambda content: content[:-2] + b"\xff" + content[-2:]),
    "a zero byte": Fault(TEXT_FILES, lambda content: content[:-2] + b"\0" + content[-2:]),
    "UTF-16": Fault(TEXT_FILES, lambda content: content.decode().encode("utf-16")),
    "Windows-1252": Fault(TEXT_FILES, lambda content: content[:-1] + "“é”".encode("cp1252") + content[-1:]),
    "an empty file": Fault((*TEXT_FILES, ".parquet", ".jsonl.gz"), lambda content: b""),
    "half a file": Fault((".jsonl.gz", ".parquet"), lambda content: content[: len(content) // 2]),
    "another kind of file": Fault((".jsonl.gz", ".parquet"), lambda content: b"source,target\na,b\n" * 10),
    "a missing cell": Fault((".csv", ".tsv"), lambda content: content + b"lonely\n"),
    "an extra cell": Fault(
        (".csv", ".tsv"), lambda content: content + b"x,y,z,w\n".replace(b",", b"\t" if b"\t" in content[:20] else b",")
    ),
    "an open quotation mark": Fault((".csv",), lambda content: content + b'i9,"never closed,the end\n'),
    "a repeated column": Fault((".csv", ".tsv"), lambda content: content.replace(b"target", b"source", 1)),
    "no column source": Fault((".csv", ".tsv"), lambda content: content.replace(b"source", b"sauce", 1)),
    "a printed list": Fault(
        (".csv",), lambda content: content.replace(b"target", b"targets", 1) + b"i9,a b c,\"['a', 'b']\"\n"
    ),
    "semicolons": Fault((".csv",), lambda content: b"id;source;target\ni9;a b c;d\n"),
    "only a header": Fault((".csv", ".tsv"), lambda content: content.splitlines(keepends=True)[0]),
}
TABLE_FAULTS: dict[str, Callable[[Rows], Rows]] = {
    "a table with a null cell": lambda rows: [*rows, {"id": "i9", "source": None, "target": "b"}],
    "a table with a blank cell": lambda rows: [*rows, {"id": "i9", "source": " ", "target": "b"}],
    "a table with an id of two sources": lambda rows: [*rows, {**rows[0], "source": rows[0]["source"] + " and more"}],
    "a table with numbers": lambda rows: [{**row, "source": index} for index, row in enumerate(rows)],
    "a table with lists": lambda rows: [{**row, "source": [row["source"]]} for row in rows],
    "a table with no column source": lambda rows: [{"id": row["id"], "target": row["target"]} for row in rows],
}
"""Fault -> other rows; of Parquet files."""


def read_file(content: bytes, suffix: str) -> Callable[[Path], object]:
    """Writes a file of labeled examples, and reads it as a task does."""

    def read(folder: Path) -> object:
        path, test = folder / f"train{suffix}", folder / "test.csv"
        path.write_bytes(content)
        test.write_text(TEST, encoding="utf-8")
        loaded = load_files(labeled=path, test=test)
        return [(example.id, example.source, list(example.targets)) for example in loaded.data.labeled]

    return read


@st.composite
def files(draw: Draw) -> Case:
    """A data file."""
    fault = draw(st.just(VALID) | st.sampled_from([*FAULTS, *JSON_LINES, *TABLE_FAULTS]))
    suffixes = tuple(FORMATS) if fault == VALID else FAULTS[fault].suffixes if fault in FAULTS else ()
    suffix = draw(st.sampled_from(suffixes or ([".jsonl"] if fault in JSON_LINES else [".parquet"])))
    text = texts(controls=suffix != ".tsv")
    sources = draw(st.lists(text, min_size=1, max_size=5, unique=True))
    rows: Rows = [{"id": f"i{index}", "source": source, "target": draw(text)} for index, source in enumerate(sources)]
    content = FORMATS[suffix](TABLE_FAULTS[fault](rows) if fault in TABLE_FAULTS else rows)
    if fault == VALID and suffix in TEXT_FILES:
        content = draw(st.sampled_from([b"", "\ufeff".encode()])) + content + draw(st.sampled_from([b"", b"\n"]))
    elif fault in FAULTS:
        content = FAULTS[fault].change(content)
    elif fault in JSON_LINES:
        lines = content.splitlines(keepends=True)  # of bytes: only at line feeds, and carriage returns are escaped
        lines.insert(draw(st.integers(0, len(lines))), JSON_LINES[fault].encode() + b"\n")
        content = b"".join(lines)
    expected = [(row["id"], row["source"], [row["target"]]) for row in rows]
    return Case(fault, read_file(content, suffix), expected if fault == VALID else None, (suffix, content))


DOMAIN = Domain("data", files())
