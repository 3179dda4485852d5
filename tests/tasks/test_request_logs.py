"""Stored completions, batch files and request logs as task files: requests joined with whole responses."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from understudy.config.task import Fields, Format
from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.files import load_files, read_examples
from understudy.tasks.task_records import RecordSettings

Row = Mapping[str, object]
REQUEST = {"model": "m", "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "in"}]}


def chat(*texts: str, reason: str = "stop", **more: object) -> dict[str, object]:
    """A chat completion with these texts."""
    choices = [
        {"index": i, "finish_reason": reason, "message": {"role": "assistant", "content": text, **more}}
        for i, text in enumerate(texts)
    ]
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": choices}


def write(path: Path, *rows: Row) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


WHOLE: dict[str, Row] = {
    "stored_completions, messages next to choices": chat("out") | REQUEST | {"id": "7"},
    "stored_completions, with its request": chat("out") | {"request": REQUEST, "id": "7"},
    "request_log, bodies": {"id": "7", "request": REQUEST, "response": chat("out")},
    "request_log, envelopes": {
        "id": "7",
        "request": {"body": REQUEST},
        "response": {"status": 200, "body": chat("out")},
    },
    "request_log, JSON texts": {
        "id": "7",
        "request_body": json.dumps(REQUEST),
        "response_body": json.dumps(chat("out")),
    },
    "request_log, of a proxy": {
        "id": "7",
        "messages": REQUEST["messages"],
        "response": chat("out"),
        "status": "success",
    },
    "request_log, of an exporter": {"id": "7", "input": REQUEST, "output": chat("out"), "tags": {}},
    "request_log, a text": {"id": "7", "messages": REQUEST["messages"], "response": "out"},
    "request_log, a plain completion": {
        "request_id": "7",
        "request": {"prompt": "in"},
        "response": {"choices": [{"text": "out", "finish_reason": "stop"}]},
    },
    "request_log, the responses API": {
        "id": "7",
        "request": {"instructions": "S", "input": "in"},
        "response": {
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "out"}]},
            ],
        },
    },
    "request_log, the messages API": {
        "id": "7",
        "request": {"system": "S", "messages": [{"role": "user", "content": [{"type": "text", "text": "in"}]}]},
        "response": {"role": "assistant", "stop_reason": "end_turn", "content": [{"type": "text", "text": "out"}]},
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_request_with_its_response_is_an_example(tmp_path: Path, name: str) -> None:
    """The id is the record's; the format is recognised and said."""
    log: list[str] = []
    path = write(tmp_path / "t.jsonl", WHOLE[name])

    assert read_examples(path, split="x", labeled=True, log=log.append) == (Example("7", "in", ("out",)),)
    assert f"recognised as {name.split(',', maxsplit=1)[0]} " in log[0]


def test_the_field_of_the_id_can_be_named(tmp_path: Path) -> None:
    """A recipe's `fields.id` comes before the names that logs use; null generates ids."""
    path = write(tmp_path / "t.jsonl", WHOLE["request_log, bodies"] | {"trace": "t9"})  # type: ignore[operator] # dicts

    assert read_examples(path, split="x", labeled=True, fields=Fields(id="trace"))[0].id == "t9"
    assert read_examples(path, split="x", labeled=True, fields=Fields(id=None))[0].id == "x-1"


def test_every_choice_of_a_response_is_a_target(tmp_path: Path) -> None:
    """Those that are cut are left out of them."""
    cut = chat("cut", reason="length")["choices"]
    response = chat("one", "two")
    response["choices"] = [*response["choices"], *cut]  # type: ignore[misc] # lists
    path = write(tmp_path / "t.jsonl", {"request": REQUEST, "response": response})

    assert read_examples(path, split="x", labeled=True)[0].targets == ("one", "two")


UNUSABLE: dict[str, tuple[object, str]] = {
    "nothing": (None, "failed request"),
    "an error": ({"error": {"message": "overloaded"}}, "failed request"),
    "an empty object": ({}, "no text"),
    "a cut text": (chat("ha", reason="length"), "cut at the length limit"),
    "a filtered text": (chat("ha", reason="content_filter"), "finish reason content_filter"),
    "a refusal": (chat("", refusal="I cannot"), "refusal"),
    "a tool call": (chat("", reason="tool_calls", tool_calls=[{"id": "1"}]), "tool call"),
    "an empty text": (chat(" "), "no text"),
    "a cut response": ({"status": "incomplete", "output": []}, "cut at the length limit"),
    "a call of the responses API": ({"status": "completed", "output": [{"type": "function_call"}]}, "tool call"),
    "a call of the messages API": ({"stop_reason": "tool_use", "content": [{"type": "tool_use"}]}, "tool call"),
}


@pytest.mark.parametrize(("response", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_records_without_a_whole_text_are_left_out_counted_and_said(
    tmp_path: Path, response: object, reason: str
) -> None:
    """A log of traffic has failed requests; a cut text would teach to stop early. As inputs they are used."""
    log: list[str] = []
    other = {"messages": [{"role": "user", "content": "other"}]}
    rows: list[Row] = [{"request": other, "response": chat("b")}, {"request": REQUEST, "response": response}]
    path = write(tmp_path / "t.jsonl", *rows)

    loaded = load_files(labeled=path, settings=RecordSettings(log=log.append))
    assert [example.source for example in loaded.data.labeled] == ["other"]
    assert loaded.facts["unanswered"] == 1
    assert f"records without a usable answer are left out: 1 {reason}" in "\n".join(log)
    assert [example.source for example in read_examples(path, split="unlabeled", labeled=False)] == ["other", "in"]


def test_a_log_without_a_usable_answer_is_refused(tmp_path: Path) -> None:
    """The message counts the reasons; a first record without a response is still recognised."""
    path = write(tmp_path / "t.jsonl", {"messages": REQUEST["messages"], "response": None})

    with pytest.raises(DataError, match=r"t\.jsonl: no record has a usable answer \(1 failed request\)"):
        read_examples(path, split="x", labeled=True)


def batch(tmp_path: Path) -> tuple[Path, Path]:
    """The input and the output file of a batch; the output is in another order."""
    inputs = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": f"in {name}"}]},
        }
        for name in "abc"
    ]
    outputs: list[Row] = [
        {"id": "1", "custom_id": "b", "response": {"status_code": 200, "body": chat("out b")}, "error": None},
        {"id": "2", "custom_id": "a", "response": {"status_code": 200, "body": chat("out a")}, "error": None},
        {"id": "3", "custom_id": "c", "response": None, "error": {"code": "batch_expired"}},
    ]
    return write(tmp_path / "in.jsonl", *inputs), write(tmp_path / "out.jsonl", *outputs)


def test_a_batch_output_is_joined_with_its_input_by_custom_id(tmp_path: Path) -> None:
    """The order of the output file means nothing; a failed request is counted."""
    inputs, outputs = batch(tmp_path)
    settings = RecordSettings(form=Format(batch_requests=inputs))

    loaded = load_files(labeled=outputs, settings=settings)
    assert loaded.data.labeled == (Example("b", "in b", ("out b",)), Example("a", "in a", ("out a",)))
    assert loaded.facts["unanswered"] == 1


def test_a_batch_input_holds_unlabeled_inputs(tmp_path: Path) -> None:
    """Before the batch is paid for, another teacher can answer it."""
    inputs, _ = batch(tmp_path)

    assert read_examples(inputs, split="unlabeled", labeled=False)[0] == Example("a", "in a")
    with pytest.raises(DataError, match=r"in\.jsonl line 1: a batch input file holds requests without answers"):
        load_files(labeled=inputs)


def test_a_batch_output_without_its_requests_is_refused(tmp_path: Path) -> None:
    """The message names the setting; a request that is not in that file is refused too."""
    inputs, outputs = batch(tmp_path)
    with pytest.raises(DataError, match=r"out\.jsonl line 1: .*holds no requests; set task\.format\.batch_requests"):
        load_files(labeled=outputs)

    write(inputs, json.loads(inputs.read_text().splitlines()[0]))
    with pytest.raises(DataError, match=r"out\.jsonl line 1: 'custom_id' 'b' is not in .*batch_requests"):
        load_files(labeled=outputs, settings=RecordSettings(form=Format(batch_requests=inputs)))

    write(inputs, *[json.loads(inputs.read_text())] * 2)
    with pytest.raises(DataError, match=r"in\.jsonl line 2: 'custom_id' 'a' occurs twice"):
        load_files(labeled=outputs, settings=RecordSettings(form=Format(batch_requests=inputs)))


MALFORMED: dict[str, tuple[Row, str]] = {
    "messages that are a text": ({"request": {"messages": "in"}, "response": chat("out")}, "'in'; it must be a list"),
    "a choice that is no object": (
        {"request": REQUEST, "response": {"choices": [3, *chat("out")["choices"]]}},  # type: ignore[misc] # a list
        "holds 3 in place of an object",
    ),
    "an item that is no object": (
        {"request": REQUEST, "response": {"output": [{"type": "output_text", "text": "out"}, "more"]}},
        "holds 'more' in place of an object",
    ),
}


@pytest.mark.parametrize(("row", "finding"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_refused(tmp_path: Path, row: Row, finding: str) -> None:
    """What is left of it may be half of a text."""
    path = write(tmp_path / "t.jsonl", row)

    with pytest.raises(DataError, match=rf"t\.jsonl line 1: .*{finding}"):
        read_examples(path, split="x", labeled=True)
