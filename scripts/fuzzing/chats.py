"""Chats, stored completions, batches and logs: conversations that are read as they were written, or have a fault."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain
from scripts.fuzzing.texts import TEST, Draw, lines_of, texts

from understudy.config.task import Format
from understudy.tasks import load_files
from understudy.tasks.task_records import RecordSettings

Plain = dict[str, Any]
Turns = Any
Build = Callable[[str, Turns, object, str], Plain]
"""Id, turns before the answer, answer, finish reason -> a record."""
PROSE = texts(controls=True).filter(lambda text: text.lstrip()[:1] not in ("{", "["))
"""A text that begins with a bracket may be JSON, in logs that hold bodies as texts."""


def turn(text: object, role: str = "user") -> Plain:
    """One message."""
    return {"role": role, "content": text}


def shared(turns: Turns) -> Turns:
    """Messages with the keys of ShareGPT."""
    names = {"user": "human", "assistant": "gpt"}
    if not isinstance(turns, list):
        return turns
    return [
        {
            **{key: value for key, value in one.items() if key not in ("role", "content")},
            "from": names.get(str(one["role"]), one["role"]),
            "value": one["content"],
        }
        if isinstance(one, dict)
        else one
        for one in turns
    ]


def with_answer(turns: Turns, answer: object) -> Turns:
    """A whole conversation."""
    return [*turns, turn(answer, "assistant")] if isinstance(turns, list) else turns


def completion(answer: object, reason: str) -> Plain:
    """The body of a chat completion."""
    return {"choices": [{"index": 0, "message": turn(answer, "assistant"), "finish_reason": reason}]}


def responses_body(answer: object, reason: str) -> Plain:
    """The body of a response of the responses API."""
    parts = [{"type": "output_text", "text": answer}]
    status = "completed" if reason == "stop" else "incomplete"
    return {"output": [{"type": "reasoning"}, {"type": "message", "content": parts}], "status": status}


def messages_body(answer: object, reason: str) -> Plain:
    """The body of a response of the messages API."""
    return {
        "content": [{"type": "text", "text": answer}],
        "stop_reason": "end_turn" if reason == "stop" else "max_tokens",
    }


CONVERSATIONS: dict[str, Build] = {
    "messages": lambda name, turns, answer, _: {"id": name, "messages": with_answer(turns, answer)},
    "sharegpt": lambda name, turns, answer, _: {"id": name, "conversations": shared(with_answer(turns, answer))},
}
ANSWERED: dict[str, Build] = {
    "stored_completions": lambda name, turns, answer, reason: {
        "id": name,
        "messages": turns,
        **completion(answer, reason),
    },
    "stored_completions, request": lambda name, turns, answer, reason: {
        "id": name,
        "request": {"model": "m", "messages": turns},
        **completion(answer, reason),
    },
    "batch_output": lambda name, _, answer, reason: {
        "id": f"r-{name}",
        "custom_id": name,
        "response": {"status_code": 200, "body": completion(answer, reason)},
        "error": None,
    },
    "request_log": lambda name, turns, answer, reason: {
        "id": name,
        "request": {"messages": turns},
        "response": completion(answer, reason),
    },
    "request_log, texts": lambda name, turns, answer, reason: {
        "request_id": name,
        "request_body": json.dumps({"messages": turns}),
        "response_body": json.dumps(completion(answer, reason)),
    },
    "request_log, responses": lambda name, turns, answer, reason: {
        "id": name,
        "request": {"input": turns, "instructions": "Be brief."},
        "response": responses_body(answer, reason),
    },
    "request_log, envelopes": lambda name, turns, answer, reason: {
        "id": name,
        "request": {"body": {"messages": turns, "system": "Be brief."}},
        "response": {"body": messages_body(answer, reason)},
    },
}
"""Formats whose answers may be left out and counted."""
OTHERS: dict[str, Build] = {
    "alpaca": lambda name, turns, answer, _: {
        "id": name,
        "instruction": "Shorten.",
        "input": turns[-1]["content"],
        "output": answer,
    },
    "batch_input": lambda name, turns, _, __: {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": turns},
    },
}
FORMATS = {**CONVERSATIONS, **ANSWERED, **OTHERS}
WITH_TURNS = tuple(name for name in FORMATS if name not in ("alpaca", "batch_output"))
TURN_FAULTS: dict[str, Callable[[list[Plain]], Turns]] = {
    "an unknown role": lambda turns: [{**turns[0], "role": "narrator"}],
    "a number as role": lambda turns: [{**turns[0], "role": 3}],
    "a tool's turn": lambda turns: [{**turns[0], "role": "tool"}],
    "a call of a tool": lambda turns: [{**turns[0], "tool_calls": [{"id": "a"}]}],
    "an image": lambda turns: [turn([{"type": "image_url", "image_url": {"url": "x"}}])],
    "a number as part": lambda turns: [turn([3])],
    "no text": lambda turns: [turn(None)],
    "a number as text": lambda turns: [turn(3)],
    "a blank text": lambda turns: [turn(" ")],
    "half a character": lambda turns: [turn("\ud83d")],
    "a zero character": lambda turns: [turn("a\0b")],
    "a number as turn": lambda turns: [3, *turns],
    "null as turn": lambda turns: [None, *turns],
    "no turns": lambda turns: [],
    "one turn without a list": lambda turns: turns[0],
    "a text as turns": lambda turns: "abc",
    "null as turns": lambda turns: None,
    "a number as turns": lambda turns: 3,
    "two questions": lambda turns: [turn("before"), *turns],
    "an earlier exchange": lambda turns: [turn("before"), turn("yes", "assistant"), *turns],
    "only instructions": lambda turns: [turn("Be brief.", "system")],
}
RECORD_FAULTS: dict[str, tuple[tuple[str, ...], Callable[[Plain], object]]] = {
    "not an object": (tuple(FORMATS), lambda record: [record]),
    "other keys": (tuple(FORMATS), lambda record: {f"zz_{key}": value for key, value in record.items()}),
    "a boolean id": (
        tuple(FORMATS),
        lambda record: {key: True if key in ("id", "request_id", "custom_id") else record[key] for key in record},
    ),
    "no answer": (("messages",), lambda record: {**record, "messages": record["messages"][:-1]}),
    "weight 0": (
        ("messages",),
        lambda record: {**record, "messages": [*record["messages"][:-1], {**record["messages"][-1], "weight": 0}]},
    ),
    "earlier turns": (("alpaca",), lambda record: {**record, "history": [["a", "b"]]}),
    "a number as instruction": (("alpaca",), lambda record: {**record, "instruction": 3}),
    "a list as input": (("alpaca",), lambda record: {**record, "input": ["a"]}),
    "no output": (("alpaca",), lambda record: {key: record[key] for key in record if key != "output"}),
    "null output": (("alpaca",), lambda record: {**record, "output": None}),
    "a number among the choices": (
        ("stored_completions", "stored_completions, request"),
        lambda record: {**record, "choices": [3, *record["choices"]]},
    ),
    "a number among the items": (
        ("request_log, responses",),
        lambda record: {**record, "response": {**record["response"], "output": [*record["response"]["output"], 3]}},
    ),
    "an unknown request": (("batch_output",), lambda record: {**record, "custom_id": "zz"}),
    "half a body": (("request_log, texts",), lambda record: {**record, "response_body": record["response_body"][:-1]}),
    "half a request": (("request_log, texts",), lambda record: {**record, "request_body": record["request_body"][:-1]}),
}
ANSWER_FAULTS: dict[str, tuple[tuple[str, ...], object]] = {
    "a number as answer": (("messages", "sharegpt", "alpaca", "stored_completions", "batch_output", "request_log"), 3),
    "a blank answer": (("messages", "sharegpt", "alpaca"), " "),
    "null as answer": (("messages", "sharegpt", "alpaca"), None),
    "half a character as answer": (tuple(name for name in FORMATS if name != "batch_input"), "\ud83d"),
}
FAULTS = {
    **dict.fromkeys(TURN_FAULTS, WITH_TURNS),
    # In the responses API, a text is the user's message.
    "a text as turns": tuple(name for name in WITH_TURNS if name != "request_log, responses"),
    **{name: names for name, (names, _) in RECORD_FAULTS.items()},
    **{name: names for name, (names, _) in ANSWER_FAULTS.items()},
}
"""Fault -> the formats that have it."""


def as_file(records: list[object], suffix: str, *, ascii_only: bool) -> bytes:
    """The bytes of a file."""
    if suffix == ".parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records), out)
        return out.getvalue()
    if suffix == ".json":
        return json.dumps(records, ensure_ascii=ascii_only).encode()
    content = lines_of(records, ascii_only=ascii_only)
    return gzip.compress(content) if suffix == ".jsonl.gz" else content


def read_file(content: bytes, suffix: str, requests: bytes, form: Plain, split: str) -> Callable[[Path], object]:
    """Writes the files of a task, and reads them.

    Args:
        content: of the file under test.
        suffix: of its name.
        requests: the input file of a batch; empty for none.
        form: the section `task.format`.
        split: which of the task's files it is.
    """

    def read(folder: Path) -> object:
        path, test, inputs = folder / f"train{suffix}", folder / "test.csv", folder / "inputs.jsonl"
        path.write_bytes(content)
        test.write_text(TEST, encoding="utf-8")
        inputs.write_bytes(requests)
        batch = {"batch_requests": inputs} if requests else {}
        settings = RecordSettings(form=Format.model_validate({**form, **batch}))
        labeled, unlabeled = (path, None) if split == "labeled" else (None, path)
        loaded = load_files(labeled=labeled, unlabeled=unlabeled, test=test, settings=settings)
        examples = getattr(loaded.data, split)
        found = [(example.id, example.source, list(example.targets)) for example in examples]
        return found, loaded.facts.get("unanswered", 0)

    return read


@st.composite
def chats(draw: Draw) -> Case:
    """A file of conversations."""
    fault = draw(st.just(VALID) | st.sampled_from(list(FAULTS)))
    name = draw(st.sampled_from(FAULTS.get(fault, tuple(FORMATS))))
    sources = draw(st.lists(PROSE, min_size=1, max_size=4, unique=True))
    opening = draw(st.sampled_from([[], [turn("Be brief.", "system")], [turn("Be brief.", "developer")]]))
    tables = [".parquet"] if fault == VALID and name in ("messages", "sharegpt", "alpaca") else []
    suffix = draw(st.sampled_from([".jsonl", ".json", ".jsonl.gz", *tables]))
    as_parts = name != "alpaca" and suffix != ".parquet" and draw(st.booleans())
    wrong = draw(st.integers(0, len(sources) - 1))
    records: list[object] = []
    requests: list[object] = []
    expected = []
    unanswered = 0
    for index, source in enumerate(sources):
        here, answer, reason = fault if index == wrong else VALID, draw(PROSE), "stop"
        turns: Turns = [*opening, turn([{"type": "text", "text": source}] if as_parts else source)]
        requests.append(OTHERS["batch_input"](f"i{index}", turns, "", ""))
        if fault == VALID and index and name in ANSWERED and draw(st.booleans()):
            reason, unanswered = "length", unanswered + 1
        else:
            text = f"Shorten.\n\n{source}" if name == "alpaca" else source
            expected.append((f"i{index}", text, [] if name == "batch_input" else [answer]))
        if here in TURN_FAULTS:
            turns = TURN_FAULTS[here]([turn(source)])
        record = FORMATS[name](f"i{index}", turns, ANSWER_FAULTS[here][1] if here in ANSWER_FAULTS else answer, reason)
        records.append(RECORD_FAULTS[here][1](record) if here in RECORD_FAULTS else record)
    halves = fault.startswith("half a character")
    content = as_file(records, suffix, ascii_only=halves or draw(st.booleans()))
    split = "unlabeled" if name == "batch_input" else "labeled"
    form = draw(st.sampled_from([{}, {split: name.split(",")[0]}]))
    inputs = lines_of(requests, ascii_only=True) if name == "batch_output" else b""
    read = read_file(content, suffix, inputs, form, split)
    return Case(fault, read, (expected, unanswered) if fault == VALID else None, (name, suffix, form, records))


DOMAIN = Domain("chats", chats())
