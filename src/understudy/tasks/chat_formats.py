"""The formats in which conversations and requests are stored: how each is recognised, and what is in a record.

`FORMATS` is the table. `task_records.py` turns what a format reads into records with the task's field names.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy.config.task import TurnPolicy
from understudy.errors import DataError, did_you_mean
from understudy.tasks.api_bodies import body_of, request_turns, response_texts
from understudy.tasks.chat_turns import Turn, split_answer, turns_of
from understudy.tasks.file_formats import read_records
from understudy.tasks.json_values import json_value
from understudy.tasks.record import Record, listed

REQUEST_KEYS = ("request", "request_body", "input")
RESPONSE_KEYS = ("response", "response_body", "output")
CHAT_KEYS = ("messages", "prompt", "input", "body")
"""Keys of which the body of a request has one."""


@dataclass
class Reading:
    """How the records of one file are read, and what is counted meanwhile."""

    labeled: bool
    """Whether targets are read."""
    turns: TurnPolicy
    requests: Mapping[str, list[Turn]] | None = None
    """The requests of a batch by `custom_id`, where the recipe names its file."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Why records have no target: reason -> number of records."""
    systems: set[str] = field(default_factory=set)
    """The system texts that were left out of the sources."""


@dataclass(frozen=True)
class Answered:
    """What a record holds: the turns before the answer, and the answers, or why there is none."""

    turns: list[Turn]
    answers: list[str] | str


@dataclass(frozen=True)
class RecordFormat:
    """How a format is recognised and read."""

    meaning: str
    """What becomes the source and the target, for the line that says what was recognised."""
    marks: tuple[tuple[str, ...], ...]
    """Alternatives of keys of which a record has all of one."""
    read: Callable[[Record, Reading], Answered]
    id_keys: tuple[str, ...] = ("id",)
    plain: bool = False
    """Whether the keys are enough; otherwise the first of them must hold messages or the body of a request."""
    absent: tuple[str, ...] = ()
    """Keys with which a record is of another format."""


def marks_of(own: RecordFormat, values: Mapping[str, object]) -> tuple[str, ...]:
    """The keys by which a record is of a format; empty if it is not."""
    if any(key in values for key in own.absent):
        return ()
    for marks in own.marks:
        if all(key in values for key in marks) and (own.plain or holds_chat(values[marks[0]])):
            return marks
    return ()


def holds_chat(value: object) -> bool:
    """Whether a value is a list of messages or the body of a request, or the JSON text of one."""
    if isinstance(value, str):
        return value.lstrip()[:1] in ("{", "[") and any(f'"{key}"' in value for key in ("role", "from"))
    if isinstance(value, Mapping):
        return any(key in value for key in CHAT_KEYS)
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def refuse_other_keys(record: Record, name: str) -> None:
    """Refuses a record without the keys of its format."""
    alternatives = FORMATS[name].marks
    if not any(all(key in record.values for key in marks) for marks in alternatives):
        needed = " or ".join(" and ".join(map(repr, marks)) for marks in alternatives)
        hint = did_you_mean(alternatives[0][0], record.values)
        raise DataError(f"{record.where}: format {name} has the keys {needed}, found: {listed(record.values)}{hint}")


def read_messages(record: Record, reading: Reading) -> Answered:
    """A chat: the last turn is the answer."""
    messages = parsed(record, "messages")
    turns = turns_of(messages, record.where)
    if isinstance(messages, list) and messages[-1].get("weight") == 0:
        raise DataError(
            f"{record.where}: the last message has weight 0, which excludes it from training; remove the conversation, "
            "or the weight"
        )
    return last_answer(turns, record, reading)


def read_sharegpt(record: Record, reading: Reading) -> Answered:
    """A chat whose turns are {from, value}."""
    turns = turns_of(parsed(record, "conversations"), record.where)
    system = record.values.get("system")
    return last_answer([*([Turn("system", str(system))] if system else []), *turns], record, reading)


def last_answer(turns: list[Turn], record: Record, reading: Reading) -> Answered:
    """A conversation whose last turn is the answer, which labeled records must have."""
    before, answer = split_answer(turns)
    if answer is None and reading.labeled:
        raise DataError(
            f"{record.where}: the conversation does not end with an answer of the assistant; add it, or move the "
            "record to unlabeled"
        )
    return Answered(before, [answer or ""])


def read_alpaca(record: Record, reading: Reading) -> Answered:
    """An instruction, perhaps with an input below it."""
    if record.values.get("history"):
        raise DataError(f"{record.where}: 'history' holds earlier turns; write the record in the format messages")
    texts = [checked(record, key) for key in ("instruction", "input") if record.values.get(key)]
    system = record.values.get("system")
    turns = [*([Turn("system", str(system))] if system else []), Turn("user", "\n\n".join(texts))]
    return Answered(turns, [checked(record, "output")] if reading.labeled else [])


def read_stored_completion(record: Record, reading: Reading) -> Answered:
    """A completion with its request: `choices` next to the messages."""
    return Answered(logged_request(record), answers_in(record.values, record, reading))


def read_batch_input(record: Record, reading: Reading) -> Answered:
    """A request of a batch: inputs without answers."""
    if reading.labeled:
        raise DataError(
            f"{record.where}: a batch input file holds requests without answers; name it as task.files.unlabeled, or "
            "name the output file there and this one as task.format.batch_requests"
        )
    return Answered(request_turns(body_of(record.values["body"], record.where), record.where), [])


def read_batch_output(record: Record, reading: Reading) -> Answered:
    """A response of a batch, joined with its request by `custom_id`."""
    name = str(record.values["custom_id"])
    if reading.requests is None:
        raise DataError(
            f"{record.where}: a batch output file holds no requests; set task.format.batch_requests to the batch's "
            "input file"
        )
    if name not in reading.requests:
        raise DataError(
            f"{record.where}: 'custom_id' {name!r:.60} is not in the file task.format.batch_requests; give the input "
            "file of this batch"
        )
    response = None if record.values.get("error") else record.values["response"]
    return Answered(reading.requests[name], answers_in(response, record, reading))


def read_request_log(record: Record, reading: Reading) -> Answered:
    """A request and its response, as proxies log them; the answers of a student are no targets for the next one."""
    if reading.labeled and record.values.get("answered_by") == "student":
        return Answered(logged_request(record), "answered by the student")
    response = next((value for key in RESPONSE_KEYS if (value := record.values.get(key)) is not None), None)
    return Answered(logged_request(record), answers_in(response, record, reading))


def logged_request(record: Record) -> list[Turn]:
    """The turns of the request that a record holds under a key of its own, or next to the response."""
    request = next((value for key in REQUEST_KEYS if (value := record.values.get(key)) is not None), record.values)
    return request_turns(body_of(request, record.where), record.where)


def answers_in(response: object, record: Record, reading: Reading) -> list[str] | str:
    """The texts of a response, or why it has none; nothing is read where labels are not."""
    return response_texts(body_of(response, record.where), record.where) if reading.labeled else []


def batch_requests(path: Path) -> dict[str, list[Turn]]:
    """The requests of a batch input file by `custom_id`."""
    requests: dict[str, list[Turn]] = {}
    for record in read_records(path):
        refuse_other_keys(record, "batch_input")
        name = str(record.values["custom_id"])
        if name in requests:
            raise DataError(f"{record.where}: 'custom_id' {name!r:.60} occurs twice; keep one of the requests")
        requests[name] = request_turns(body_of(record.values["body"], record.where), record.where)
    return requests


def parsed(record: Record, key: str) -> object:
    """A value, which tables hold as JSON text."""
    value = record.values[key]
    if isinstance(value, str):
        return json_value(value, f"{record.where}: {key!r}", remedy="write the messages as a JSON list")
    return value


def checked(record: Record, key: str) -> str:
    """A value, if it is a text."""
    value = record.values.get(key)
    if not isinstance(value, str):
        raise DataError(f"{record.where}: {key!r} is {value!r:.60}; it must be a text")
    return value


LOG_MARKS = tuple((request, response) for request in REQUEST_KEYS for response in RESPONSE_KEYS)
FORMATS: dict[str, RecordFormat] = {
    "messages": RecordFormat(
        "the user's message is the source, the assistant's answer the target",
        (("messages",),),
        read_messages,
        absent=("choices", *RESPONSE_KEYS),
    ),
    "sharegpt": RecordFormat(
        "the human's turn is the source, the answer the target", (("conversations",),), read_sharegpt
    ),
    "alpaca": RecordFormat(
        "instruction and input are the source, output the target",
        (("instruction", "output"), ("instruction", "input")),
        read_alpaca,
        plain=True,
    ),
    "stored_completions": RecordFormat(
        "the user's message is the source, each choice a target",
        (("messages", "choices"), *((key, "choices") for key in REQUEST_KEYS)),
        read_stored_completion,
    ),
    "batch_input": RecordFormat(
        "the user's message is the source", (("custom_id", "body"),), read_batch_input, ("custom_id",), plain=True
    ),
    "batch_output": RecordFormat(
        "the user's message of the request is the source, each choice a target",
        (("custom_id", "response"),),
        read_batch_output,
        ("custom_id",),
        plain=True,
    ),
    "request_log": RecordFormat(
        "the user's message is the source, each choice a target",
        (*LOG_MARKS, ("messages", "response")),
        read_request_log,
        ("id", "request_id"),
        absent=("custom_id",),
    ),
}
"""Name of a format, as recipes write it -> how it is recognised and read."""
