"""Replies of an endpoint: what is usable of them is read and journalled, and a reply without a use is a failed request.

A reply is paid for, so a fault in a part of it costs that part alone: a choice, its log-probabilities, or a count.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain
from scripts.fuzzing.texts import Draw

from understudy.api_teacher.journal import Journal, iter_responses
from understudy.api_teacher.request_types import RequestFailed
from understudy.api_teacher.response_body import parse_response_body
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError

Plain = dict[str, Any]
ENDPOINT = Endpoint(model="m", max_tokens=8, top_logprobs=2)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BODY_FAULTS: dict[str, Callable[[Plain], bytes]] = {
    "half a body": lambda reply: json.dumps(reply).encode()[:-20],
    "no body": lambda reply: b"",
    "a page": lambda reply: b"<html>502 Bad Gateway</html>",
    "an invalid byte": lambda reply: json.dumps(reply).encode()[:-2] + b"\xff}}",
    "deep brackets": lambda reply: b"[" * 100_000,
    "a number of 5,000 digits": lambda reply: b'{"choices": [], "n": ' + b"9" * 5000 + b"}",
    "a list": lambda reply: json.dumps([reply]).encode(),
    "a number": lambda reply: b"3",
    "null": lambda reply: b"null",
    "an error": lambda reply: b'{"error": {"message": "overloaded"}}',
    "null as choices": lambda reply: json.dumps({**reply, "choices": None}).encode(),
    "an object as choices": lambda reply: json.dumps({**reply, "choices": {"0": reply["choices"][0]}}).encode(),
}
"""Fault -> the bytes of a reply that is refused as a whole."""
CHOICE_FAULTS: dict[str, Callable[[Plain], object]] = {
    "a number as choice": lambda choice: 3,
    "null as choice": lambda choice: None,
    "a list as choice": lambda choice: [choice],
    "no message": lambda choice: {key: choice[key] for key in choice if key != "message"},
    "a number as message": lambda choice: {**choice, "message": 3},
    "a number as text": lambda choice: {**choice, "message": {"content": 3}},
    "an object as text": lambda choice: {**choice, "message": {"content": {"text": "a"}}},
    "a list as finish reason": lambda choice: {**choice, "finish_reason": ["stop"]},
    "a number as finish reason": lambda choice: {**choice, "finish_reason": 3},
}
"""Fault -> a choice that is dropped."""
POSITION_VALUES: dict[str, list[object]] = {
    "token": [None, 3],
    "logprob": [None, "-1", [], True, float("nan"), float("-inf"), 3.0],
    "bytes": [[300], [-1], [True], [1.5], "abc", 3],
    "top_logprobs": [3, "a", [None], [3], [{"token": "a"}]],
}
POSITION_FAULTS: dict[str, object] = {
    "null as position": None,
    "a list as position": [],
    **{f"{field} {value!r}": {field: value} for field, values in POSITION_VALUES.items() for value in values},
}
"""Fault -> what replaces the first position, or fields of it: the text is kept without log-probabilities."""
LOGPROBS_FAULTS: dict[str, Callable[[list[Plain]], object]] = {
    "a text as log-probabilities": lambda positions: "none",
    "a list as log-probabilities": lambda positions: positions,
    "an object as positions": lambda positions: {"content": {"0": positions[0]}},
    "too many positions": lambda positions: {"content": positions * 200},
}
COUNT_FAULTS: dict[str, object] = {
    f"a count {value!r}": value for value in (None, -5, "7", 1.5, True, [7], float("nan"))
}
USAGE_FAULTS: dict[str, object] = {f"usage {value!r}": value for value in (None, [1, 2], "7", 3)}


@dataclass(frozen=True)
class Read:
    """What is expected of a reply."""

    choices: tuple[tuple[str, str, Any], ...]
    """Text, finish reason, log-probabilities."""
    input_tokens: int | None
    output_tokens: int | None


def read_body(body: bytes, texts: int) -> Callable[[Path], object]:
    """Parses a reply, and reads it from a journal again."""

    def read(folder: Path) -> object:
        try:
            response = parse_response_body(body, ENDPOINT, texts)
        except RequestFailed as failed:
            raise GenerationError(failed.reason) from failed
        journal = Journal.open(folder / "journal.jsonl", fingerprint={})
        journal.record_end(journal.record_request("source", 1.0), cost=0.5, choices=response.choices)
        Journal.open(journal.path, fingerprint={})
        choices = tuple((one.text, one.finish_reason, one.logprobs) for _, one in iter_responses(journal.path))
        return Read(choices, response.input_tokens, response.output_tokens)

    return read


def choice_of(text: str, tokens: list[str]) -> Plain:
    """A choice with a log-probability for each token and one alternative."""
    content = [
        {
            "token": token,
            "logprob": -0.5,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": "b", "logprob": -1}],
        }
        for token in tokens
    ]
    message = {"role": "assistant", "content": text}
    return {"message": message, "finish_reason": "stop", "logprobs": {"content": content}}


def read_of(choice: Plain) -> tuple[str, str, Any]:
    """What such a choice is read as."""
    positions = [{"token": one["token"], "logprob": -0.5, "top": [["b", -1]]} for one in choice["logprobs"]["content"]]
    return choice["message"]["content"], "stop", positions


def faulty(fault: str, reply: Plain, which: int, expected: Read) -> tuple[bytes, Read | None]:
    """The bytes of a reply with a fault in one of its choices, and what it is read as; None: it is refused."""
    reply = copy.deepcopy(reply)
    choice, kept = reply["choices"][which], list(expected.choices)
    positions = choice["logprobs"]["content"]
    if fault in BODY_FAULTS:
        return BODY_FAULTS[fault](reply), None
    if fault in CHOICE_FAULTS:
        reply["choices"][which] = CHOICE_FAULTS[fault](choice)
        del kept[which]
    elif fault in COUNT_FAULTS:
        reply["usage"]["completion_tokens"], expected = COUNT_FAULTS[fault], replace(expected, output_tokens=None)
    elif fault in USAGE_FAULTS:
        reply["usage"], expected = USAGE_FAULTS[fault], replace(expected, input_tokens=None, output_tokens=None)
    elif fault != VALID:
        change = POSITION_FAULTS.get(fault)
        if fault in LOGPROBS_FAULTS:
            choice["logprobs"] = LOGPROBS_FAULTS[fault](positions)
        else:
            positions[0] = {**positions[0], **change} if isinstance(change, dict) else change
        kept[which] = (*kept[which][:2], None)
    return json.dumps(reply).encode(), replace(expected, choices=tuple(kept))


FAULTS = (
    *BODY_FAULTS,
    *CHOICE_FAULTS,
    *POSITION_FAULTS,
    *LOGPROBS_FAULTS,
    *COUNT_FAULTS,
    *USAGE_FAULTS,
)


@st.composite
def replies(draw: Draw) -> Case:
    """A reply of a chat completion with log-probabilities."""
    tokens = st.lists(TEXTS.filter(bool), min_size=1, max_size=4)
    choices = [choice_of(draw(TEXTS), draw(tokens)) for _ in range(draw(st.integers(1, 3)))]
    counts = draw(st.integers(0, 10**6)), draw(st.integers(20, 10**6))
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1]}
    fault = draw(st.just(VALID) | st.sampled_from(FAULTS))
    intact = Read(tuple(map(read_of, choices)), *counts)
    which = draw(st.integers(0, len(choices) - 1))
    body, expected = faulty(fault, {"choices": choices, "usage": usage}, which, intact)
    further = draw(st.integers(0, 2)) if fault == VALID else 0
    if further:  # choices that were not requested
        body = json.dumps({"choices": [*choices, *choices[:further]], "usage": usage, "more": None}).encode()
    return Case(fault, read_body(body, len(choices)), expected, body, may_be_repaired=expected is not None)


DOMAIN = Domain("replies", replies())
