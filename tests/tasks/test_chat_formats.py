"""Conversations and instruction records as task files: roles by name, nothing guessed, nothing lost without a line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.config.task import Fields, Format, FormatName
from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.chat_formats import FORMATS
from understudy.tasks.files import read_examples, read_split
from understudy.tasks.record import no_log
from understudy.tasks.task_records import RecordSettings, task_records

Row = Mapping[str, object]
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is 2+2?"}
ANSWER = {"role": "assistant", "content": "Four."}
MORE = {"role": "user", "content": "Really?"}
YES = {"role": "assistant", "content": "Yes."}
PARTS = [{"type": "text", "text": "What is"}, {"type": "input_text", "text": "2+2?"}]
SHAREGPT = [{"from": "human", "value": "What is 2+2?"}, {"from": "gpt", "value": "Four."}]


def examples_of(
    path: Path, *rows: Row, labeled: bool = True, form: str | Row = "auto", log: list[str] | None = None
) -> Sequence[Example]:
    """The examples of a file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = RecordSettings(form=Format.model_validate(form), log=no_log if log is None else log.append)
    split = "labeled" if labeled else "unlabeled"
    records = task_records(path, settings, split=split, labeled=labeled)
    return read_split(records, split=split, fields=Fields(), labeled=labeled, origin=str(path)).examples


ONE_EXAMPLE: dict[str, Row] = {
    "messages": {"messages": [USER, ANSWER]},
    "messages with a system turn": {"messages": [SYSTEM, USER, ANSWER], "tools": None},
    "messages of a developer": {"messages": [{"role": "developer", "content": "x"}, USER, ANSWER]},
    "messages of parts": {"messages": [{"role": "user", "content": PARTS}, ANSWER]},
    "sharegpt": {"conversations": SHAREGPT},
    "sharegpt with a system text": {"system": "Be brief.", "conversations": SHAREGPT},
    "alpaca": {"instruction": "What is 2+2?", "input": "", "output": "Four."},
    "alpaca with an input": {"instruction": "Add.", "input": "2+2", "output": "Four."},
}
SOURCES = {"messages of parts": "What is\n2+2?", "alpaca with an input": "Add.\n\n2+2"}


@pytest.mark.parametrize("name", ONE_EXAMPLE)
def test_roles_are_chosen_by_name(tmp_path: Path, name: str) -> None:
    """The user's message is the source and the assistant's the target; a system turn is neither."""
    (example,) = examples_of(tmp_path / "t.jsonl", ONE_EXAMPLE[name])

    assert example == Example("labeled-1", SOURCES.get(name, "What is 2+2?"), ("Four.",))


@pytest.mark.parametrize("name", ONE_EXAMPLE)
def test_a_recognised_format_is_announced_and_a_named_one_is_not(tmp_path: Path, name: str) -> None:
    """Naming it changes nothing but that line, which has the file, the format and the keys."""
    path, form, recognised, named = tmp_path / "t.jsonl", name.split(maxsplit=1)[0], list[str](), list[str]()

    assert examples_of(path, ONE_EXAMPLE[name], log=recognised) == examples_of(
        path, ONE_EXAMPLE[name], form=form, log=named
    )
    assert recognised[0].startswith(f"{path}: recognised as {form} (keys ")
    assert recognised[1:] == named


def test_system_turns_that_are_left_out_are_counted(tmp_path: Path) -> None:
    """Two different ones may mean two tasks in one file."""
    log: list[str] = []
    rows = [{"messages": [SYSTEM | {"content": text}, MORE | {"content": text}, YES]} for text in ("a", "b", "b")]
    examples_of(tmp_path / "t.jsonl", *rows, log=log)

    assert "system turns are left out of the sources (2 different)" in log[-1]


def test_inputs_need_no_answer_and_an_answer_is_not_part_of_them(tmp_path: Path) -> None:
    """The same conversation with and without an answer is the same unlabeled input."""
    path = tmp_path / "t.jsonl"
    rows: list[Row] = [{"messages": [USER, ANSWER]}, {"messages": [MORE]}]

    assert examples_of(path, *rows, labeled=False) == (
        Example("unlabeled-1", "What is 2+2?"),
        Example("unlabeled-2", "Really?"),
    )
    (alpaca,) = examples_of(path, {"instruction": "Add.", "input": "2+2"}, labeled=False)
    assert alpaca.source == "Add.\n\n2+2"


SEVERAL: Row = {"messages": [SYSTEM, USER, ANSWER, MORE, YES]}


@pytest.mark.parametrize(
    ("turns", "source"),
    [("last", "Really?"), ("all", "user: What is 2+2?\nassistant: Four.\nuser: Really?")],
)
def test_several_turns_become_a_source_as_the_recipe_says(tmp_path: Path, turns: str, source: str) -> None:
    """The answer is the last turn in each case."""
    (example,) = examples_of(tmp_path / "t.jsonl", SEVERAL, form={"turns": turns})

    assert (example.source, example.targets) == (source, ("Yes.",))


def test_json_in_a_parquet_or_csv_column_is_read(tmp_path: Path) -> None:
    """Parquet holds messages as structures, tables hold them as JSON text; only the needed columns are read."""
    messages = [USER, ANSWER]
    broken = pa.array([10**8], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"messages": [messages], "when": broken}), tmp_path / "t.parquet")
    quoted = json.dumps(messages).replace('"', '""')
    (tmp_path / "t.csv").write_text(f'messages\n"{quoted}"\n', encoding="utf-8")

    for name, made in (("t.parquet", "train-1"), ("t.csv", "train-2")):
        assert read_examples(tmp_path / name, split="train", labeled=True) == (
            Example(made, "What is 2+2?", ("Four.",)),
        )


def test_columns_are_columns_whatever_they_are_called(tmp_path: Path) -> None:
    """Texts named messages, input and output are no conversation; a recipe that names its source column means it."""
    rows: list[Row] = [{"source": "a", "target": "b", "messages": "two"}, {"source": "c", "target": "d"}]
    log: list[str] = []
    assert [one.source for one in examples_of(tmp_path / "t.jsonl", *rows, log=log)] == ["a", "c"]
    assert log == []

    (tmp_path / "u.jsonl").write_text('{"instruction": "a", "output": "b"}', encoding="utf-8")
    fields = Fields(source="instruction", target="output")
    assert read_examples(tmp_path / "u.jsonl", split="x", labeled=True, fields=fields) == (Example("x-1", "a", ("b",)),)


REFUSED: dict[str, tuple[Row, str | Row, str]] = {
    "ambiguous": (
        {"source": "wikipedia", "target": "x", "messages": [USER, ANSWER]},
        "auto",
        r"fit the formats columns and messages; set task\.format",
    ),
    "several turns": (SEVERAL, "auto", r"3 turns before the answer; set task\.format\.turns .*to last .* or to all"),
    "no answer": ({"messages": [USER]}, "auto", r"does not end with an answer.*unlabeled"),
    "answers alone": ({"messages": [SYSTEM, ANSWER]}, "auto", r"no user message before the answer"),
    "two answers": ({"messages": [USER, ANSWER, YES]}, {"turns": "last"}, r"no user message before the answer"),
    "a tool call": (
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        "auto",
        r"message 2: uses a tool",
    ),
    "a tool's turn": (
        {"messages": [USER, {"role": "tool", "content": "4"}, ANSWER]},
        "auto",
        r"message 2: uses a tool",
    ),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER]},
        "auto",
        r"message 1: 'content' has a part 'image_url', which is not text",
    ),
    "no content": ({"messages": [USER, {"role": "assistant", "content": None}]}, "auto", r"'content' is None"),
    "an answer without weight": (
        {"messages": [USER, ANSWER | {"weight": 0}]},
        "auto",
        r"the last message has weight 0, which excludes it",
    ),
    "an unknown role": (
        {"messages": [{"role": "usr", "content": "a"}, ANSWER]},
        "auto",
        r"'role' is 'usr'; known roles",
    ),
    "no messages": ({"messages": []}, "messages", r"the conversation is \[\]"),
    "another format than named": (
        {"source": "a"},
        "messages",
        r"format messages has the keys 'messages', found: source",
    ),
    "a history": (
        {"instruction": "a", "output": "b", "history": [["c", "d"]]},
        "auto",
        r"'history' holds earlier turns",
    ),
    "a number": ({"instruction": "a", "output": 5}, "auto", r"'output' is 5; it must be a text"),
    "an empty answer": ({"messages": [USER, {"role": "assistant", "content": " "}]}, "auto", r"'targets' is empty"),
}


@pytest.mark.parametrize(("row", "form", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_pair_of_texts_is_refused(tmp_path: Path, row: Row, form: str | Row, message: str) -> None:
    """The message has the file, the line, what was found and what to do."""
    with pytest.raises(DataError, match=r"t\.jsonl line 1.*" + message):
        examples_of(tmp_path / "t.jsonl", row, form=form)


def test_the_recipes_names_are_those_of_the_table() -> None:
    """In addition: columns, and auto."""
    assert set(get_args(FormatName)) == {*FORMATS, "columns", "auto"}
