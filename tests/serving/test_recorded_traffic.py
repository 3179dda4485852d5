"""Bodies that passed the proxy as records, or why they are none."""

import json
from typing import Any

import pytest

from understudy.serving.recorded_traffic import Exchange, exchange_records
from understudy.serving.records import NotRecordable
from understudy.tasks.chat_turns import Turn

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
ANSWER = {"id": "r", "choices": [{"message": {"content": "b"}, "finish_reason": "stop"}]}
RESPONSE = {
    "id": "resp-1",
    "object": "response",
    "status": "completed",
    "model": "m-1",
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b c"}]},
    ],
    "usage": {"input_tokens": 2, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}},
}


def exchange(request: object, response: object, *, streamed: bool = False) -> Exchange:
    """Bodies as they pass; those of streams are given as bytes."""
    body = response if isinstance(response, bytes) else json.dumps(response).encode()
    return Exchange(json.dumps(request).encode(), body, streamed, "own-id")


@pytest.mark.parametrize("streamed", [False, True])
def test_the_responses_api_is_recorded(*, streamed: bool) -> None:
    """Its last event holds the whole response; reasoning is no part of the text."""
    request = {
        "model": "m",
        "instructions": "Be brief.",
        "input": "a",
        "max_output_tokens": 9,
        "metadata": {"who": "x"},
    }
    events = [
        {"type": "response.output_text.delta", "delta": "b"},
        {"type": "response.completed", "response": RESPONSE},
    ]
    stream = b"".join(b"event: x\r\ndata: " + json.dumps(one).encode() + b"\r\n\r\n" for one in events)
    (record,) = exchange_records(exchange(request, stream if streamed else RESPONSE, streamed=streamed))

    assert record.turns == [Turn("system", "Be brief."), Turn("user", "a")]
    assert [(output.text, output.finish_reason) for output in record.outputs] == [("b c", "completed")]
    assert (record.id, record.model, record.answered_by) == ("resp-1", "m-1", "teacher")
    assert record.parameters == {"model": "m", "max_output_tokens": 9}
    assert record.usage == {"input_tokens": 2, "output_tokens": 3}


def test_choices_of_a_stream_arrive_interleaved() -> None:
    """Each is put together by its index; a text that was cut keeps its reason."""
    pieces = [(1, "b", None), (0, "a", None), (1, "d", "length"), (0, "c", "stop")]
    chunks = [{"choices": [{"index": i, "text": text, "finish_reason": end}]} for i, text, end in pieces]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    (record,) = exchange_records(exchange({"model": "m", "prompt": "p", "n": 2}, stream, streamed=True))

    assert [(output.text, output.finish_reason) for output in record.outputs] == [("ac", "stop"), ("bd", "length")]
    assert (record.id, record.model) == ("own-id", "m")


def call(**choice: Any) -> bytes:  # noqa: ANN401 - parts of a choice
    """A stream of one chunk."""
    return b"data: " + json.dumps({"choices": [{"index": 0, "finish_reason": "stop", **choice}]}).encode() + b"\n\n"


REFUSED: dict[str, tuple[Exchange, str]] = {
    "earlier turns that the upstream keeps": (
        exchange({"input": "a", "previous_response_id": "r0"}, RESPONSE),
        "not_text",
    ),
    "an image": (exchange({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, ANSWER), "not_text"),
    "token ids": (exchange({"prompt": [1, 2]}, {"choices": [{"text": "b"}]}), "not_text"),
    "a refusal": (exchange(CHAT, {"choices": [{"message": {"content": None, "refusal": "no"}}]}), "not_text"),
    "a streamed tool call": (exchange(CHAT, call(delta={"tool_calls": [{}]}), streamed=True), "not_text"),
    "a request that is no JSON": (Exchange(b"\x1f\x8b", b"{}", streamed=False, id="r"), "incomplete"),
    "no object": (exchange([CHAT], ANSWER), "incomplete"),
    "nesting": (Exchange(b"[" * 100_000, b"{}", streamed=False, id="r"), "incomplete"),
    "no choice": (exchange(CHAT, {"choices": []}), "incomplete"),
    "fewer choices than prompts": (exchange({"prompt": ["a", "b"]}, {"choices": [{"text": "c"}]}), "incomplete"),
    "an empty stream": (exchange(CHAT, b"", streamed=True), "incomplete"),
    "half a stream": (exchange(CHAT, call(delta={"content": "b"}, finish_reason=None), streamed=True), "incomplete"),
    "an index that is none": (exchange(CHAT, call(index=[1], delta={"content": "b"}), streamed=True), "incomplete"),
    "a broken event": (exchange(CHAT, b'data: {"choices"\n\n', streamed=True), "incomplete"),
}


@pytest.mark.parametrize(("given", "outcome"), REFUSED.values(), ids=REFUSED)
def test_other_traffic_is_no_record(given: Exchange, outcome: str) -> None:
    """It is counted by the reason."""
    with pytest.raises(NotRecordable) as refused:
        exchange_records(given)
    assert refused.value.outcome == outcome
