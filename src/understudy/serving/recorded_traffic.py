"""Traffic of a proxy as records: chat completions, completions and responses of the OpenAI API.

Traffic that is no text for a text (tools, images, earlier turns that the upstream keeps) is not recorded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.errors import DataError
from understudy.serving.records import NotRecordable, RecordedText, TextRecord
from understudy.tasks.api_bodies import choices_of, request_turns
from understudy.tasks.chat_turns import Turn, content_text

RECORDED_PATHS = ("/chat/completions", "/completions", "/responses")
"""Ends of the paths whose POST requests are recorded."""
PARAMETERS = (
    "model",
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "verbosity",
)
"""What is written of a request in addition to its messages. Names of users, metadata and all headers are not."""
NOT_WHOLE = ("echo", "suffix", "previous_response_id", "conversation")
"""Parameters with which the request or the response is not the whole text."""
ENDS = ("response.completed", "response.incomplete")
"""Events of a streamed response that hold all of it."""


@dataclass(frozen=True)
class Exchange:
    """A request and its response, as they passed."""

    request: bytes
    response: bytes
    streamed: bool
    """Whether the response is a stream of events."""
    id: str
    """Of a response that has none."""


@dataclass
class _Choice:
    """A choice that arrives in pieces."""

    text: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    is_text: bool = True


def exchange_records(exchange: Exchange) -> list[TextRecord]:
    """The records of an exchange: one, or one for each prompt of a list.

    Raises:
        NotRecordable: if it is no exchange of texts, or not complete.
    """
    request = _object(exchange.request)
    response = streamed_response(exchange.response) if exchange.streamed else _object(exchange.response)
    if any(request.get(name) for name in NOT_WHOLE):
        raise NotRecordable("not_text")
    try:
        several = _requests(request)
        outputs = [_output(choice) for choice in choices_of(response, "response")]
    except DataError:
        raise NotRecordable("not_text") from None
    if not outputs or len(outputs) % len(several):
        raise NotRecordable("incomplete")
    each = len(outputs) // len(several)
    model = response.get("model") or request.get("model")
    name = response.get("id")
    usage = response.get("usage") if len(several) == 1 else None
    return [
        TextRecord(
            id=name if isinstance(name, str) and name else exchange.id,
            turns=turns,
            outputs=outputs[index * each : (index + 1) * each],
            answered_by="teacher",
            model=model if isinstance(model, str) else "",
            parameters={key: request[key] for key in PARAMETERS if _is_plain(request.get(key))},
            usage=_numbers(usage),
        )
        for index, turns in enumerate(several)
    ]


def streamed_response(stream: bytes) -> Mapping[str, Any]:
    """The response that a stream of events adds up to.

    Raises:
        NotRecordable: if the stream ends before its texts do.
    """
    head: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    for line in stream.splitlines():
        name, _, data = line.partition(b":")
        if name != b"data" or data.strip() in (b"", b"[DONE]"):
            continue
        event = _object(data)
        if event.get("type") in ENDS:
            return event["response"] if isinstance(event.get("response"), Mapping) else {}
        head |= {key: event[key] for key in ("id", "model", "usage") if event.get(key)}
        for piece in _objects(event.get("choices")):
            index = piece.get("index", 0)
            if type(index) is not int:
                raise NotRecordable("incomplete")
            _add(choices.setdefault(index, _Choice()), piece)
    if not choices or any(choice.finish_reason is None for choice in choices.values()):
        raise NotRecordable("incomplete")
    if not all(choice.is_text for choice in choices.values()):
        raise NotRecordable("not_text")
    whole = [
        {"message": {"content": "".join(choice.text)}, "finish_reason": choice.finish_reason}
        for _, choice in sorted(choices.items())
    ]
    return {**head, "choices": whole}


def _add(choice: _Choice, piece: Mapping[str, Any]) -> None:
    delta = piece.get("delta")
    given: Mapping[str, Any] = delta if isinstance(delta, Mapping) else {"content": piece.get("text")}
    if given.get("tool_calls") or given.get("function_call") or given.get("refusal"):
        choice.is_text = False
    if isinstance(content := given.get("content"), str):
        choice.text.append(content)
    if isinstance(reason := piece.get("finish_reason"), str):
        choice.finish_reason = reason


def _requests(body: Mapping[str, Any]) -> list[list[Turn]]:
    """The turns of a request; of a list of prompts, those of each."""
    prompts = body.get("prompt")
    if isinstance(prompts, list) and prompts and all(isinstance(prompt, str) for prompt in prompts):
        return [[Turn("user", prompt)] for prompt in prompts]
    return [request_turns(body, "request")]


def _output(choice: Mapping[str, Any]) -> RecordedText:
    """The text of a choice and why it ended.

    Raises:
        NotRecordable: if it is no text.
    """
    message = choice.get("message")
    given: Mapping[str, Any] = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    if any(given.get(key) for key in ("tool_calls", "function_call", "refusal")):
        raise NotRecordable("not_text")
    return RecordedText(content_text(given.get("content"), "response"), str(choice.get("finish_reason") or "stop"))


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        raise NotRecordable("incomplete")
    return value


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _is_plain(value: object) -> bool:
    """Whether a parameter is a number, a text or a list of texts."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def _numbers(usage: object) -> dict[str, int]:
    return {key: value for key, value in usage.items() if type(value) is int} if isinstance(usage, Mapping) else {}
