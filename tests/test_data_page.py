"""Each example of docs/data.md is read as the page says, and the page has every format and every file type."""

import re
from pathlib import Path
from typing import get_args

import pytest

from understudy.config.task import Fields, Format, FormatName
from understudy.tasks.file_formats import READERS, read_records
from understudy.tasks.files import read_split
from understudy.tasks.record import no_log
from understudy.tasks.task_records import RecordSettings, recognised, task_records

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
EXAMPLE = re.compile(
    r"^```(\w+)\n(.*?)^```\n\n\| source \| targets \|\n\|---\|---\|\n((?:\|[^\n]*\n)+)", re.DOTALL | re.MULTILINE
)
EXAMPLES = [
    (name, suffix, text, rows)
    for name, section in SECTION.findall(PAGE)
    for suffix, text, rows in EXAMPLE.findall(section)
]


def cells(rows: str) -> list[tuple[str, tuple[str, ...]]]:
    """The rows of a table: source, and targets separated by slashes."""
    split = [[cell.strip().replace("\\n", "\n") for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    return [(source, tuple(targets.split(" / ")) if targets else ()) for source, targets in split]


@pytest.mark.parametrize(("name", "suffix", "text", "rows"), EXAMPLES, ids=[f"{one[0]}-{one[1]}" for one in EXAMPLES])
def test_an_example_is_read_as_the_page_says(tmp_path: Path, name: str, suffix: str, text: str, rows: str) -> None:
    """The format is recognised, and sources and targets are those of the table below the example."""
    path, requests = tmp_path / f"data.{suffix}", None
    path.write_text(text, encoding="utf-8")
    if name == "batch_output":
        requests = tmp_path / "batch_input.jsonl"
        requests.write_text(next(one[2] for one in EXAMPLES if one[0] == "batch_input"), encoding="utf-8")
    labeled = name != "batch_input"
    records = task_records(path, RecordSettings(form=Format(batch_requests=requests)), split="labeled", labeled=labeled)
    split = read_split(records, split="labeled", fields=Fields(), labeled=labeled, origin=str(path))

    assert recognised(next(read_records(path)), Fields(), no_log) == name
    assert [(example.source, example.targets) for example in split.examples] == cells(rows)


def test_the_page_has_every_format_and_file_type() -> None:
    """A format is added to the page together with the code."""
    assert {name for name, *_ in EXAMPLES} == set(get_args(FormatName)) - {"auto"}
    assert [suffix for suffix in READERS if f"`{suffix}`" not in PAGE] == []
