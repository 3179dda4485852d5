"""Data files of all formats: rows that must be read as they were written, and files with one fault."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain

from understudy.tasks import load_files

Draw = Callable[[st.SearchStrategy[Any]], Any]
Rows = list[dict[str, Any]]
Bytes = Callable[[Rows], bytes]
CONTROLS = [chr(code) for code in (*range(32), 127, *range(128, 160))]
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=25).filter(
    lambda text: bool(text.strip()) and not text.startswith("\ufeff")
)
TEST = "source,target\nheld out,the text\n"


def as_jsonl(rows: Rows) -> bytes:
    """A JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


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
"""Fault -> a line that is added to a JSONL file."""


@dataclass(frozen=True)
class Fault:
    """A change of the bytes of a file."""

    suffixes: tuple[str, ...]
    change: Callable[[bytes], bytes]


def appending(line: str) -> Callable[[bytes], bytes]:
    """A change that adds a line."""
    return lambda content: content + line.encode() + b"\n"


TEXT_FILES = (".jsonl", ".csv", ".tsv")
FAULTS: dict[str, Fault] = {
    **{name: Fault((".jsonl",), appending(line)) for name, line in JSON_LINES.items()},
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
    "a null cell": lambda rows: [*rows, {"id": "i9", "source": None, "target": "b"}],
    "a blank cell": lambda rows: [*rows, {"id": "i9", "source": " ", "target": "b"}],
    "an id of two sources": lambda rows: [*rows, {**rows[0], "source": rows[0]["source"] + " and more"}],
    "numbers": lambda rows: [{**row, "source": index} for index, row in enumerate(rows)],
    "lists": lambda rows: [{**row, "source": [row["source"]]} for row in rows],
    "no column source": lambda rows: [{"id": row["id"], "target": row["target"]} for row in rows],
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
    sources = draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    rows: Rows = [{"id": f"i{index}", "source": text, "target": draw(TEXTS)} for index, text in enumerate(sources)]
    fault = draw(st.sampled_from([VALID, VALID, VALID, *FAULTS, *(f"parquet: {name}" for name in TABLE_FAULTS)]))
    if fault == VALID:
        suffix = draw(st.sampled_from(list(FORMATS)))
        content = FORMATS[suffix](rows)
        if suffix in TEXT_FILES:
            content = draw(st.sampled_from([b"", "\ufeff".encode()])) + content + draw(st.sampled_from([b"", b"\n"]))
    elif fault in FAULTS:
        suffix = draw(st.sampled_from(FAULTS[fault].suffixes))
        content = FAULTS[fault].change(FORMATS[suffix](rows))
    else:
        suffix, content = ".parquet", as_parquet(TABLE_FAULTS[fault.removeprefix("parquet: ")](rows))
    expected = [(row["id"], row["source"], [row["target"]]) for row in rows]
    return Case(fault, read_file(content, suffix), expected if fault == VALID else None, (suffix, content))


DOMAIN = Domain("data", files())
