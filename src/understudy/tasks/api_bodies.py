"""Requests and responses of chat APIs as logs hold them: the turns of a request, the texts of a response.

Bodies of chat completions, completions and responses of the OpenAI API, and messages of the Anthropic API. A response
without a whole text is no target; why is counted, because a log of traffic has failed requests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.errors import DataError
from understudy.tasks.chat_turns import TEXT_PARTS, Turn, content_text, turns_of
from understudy.tasks.json_values import json_value
from understudy.tasks.record import listed

WHOLE = (None, "stop", "end_turn", "stop_sequence", "completed")
"""Reasons for the end of a text that is whole; logs that name none hold whole texts."""
CUT = ("length", "max_tokens", "incomplete")
NO_TEXT = "no text"
REASONING = ("reasoning", "thinking", "redacted_thinking")
"""Types of items that are no part of the text."""


def body_of(value: object, where: str) -> object:
    """A body, which logs hold as an object, inside an envelope, or as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = json_value(value, where, remedy="write the body as JSON")
    if isinstance(value, Mapping) and "body" in value:
        return body_of(value["body"], where)
    return value


def request_turns(body: object, where: str) -> list[Turn]:
    """The turns of a request.

    Raises:
        DataError: if it has none.
    """
    given = body if isinstance(body, Mapping) else {"input": body}
    system = [
        Turn("system", text) for key in ("system", "instructions") if (text := system_text(given.get(key), where))
    ]
    for key in ("messages", "input", "prompt"):
        value = given.get(key)
        if isinstance(value, str) and key != "messages":
            return [*system, Turn("user", value)]
        if value is not None:
            return [*system, *turns_of(value, where)]
    raise DataError(f"{where}: the request has no messages, input or prompt; found: {listed(given)}")


def system_text(value: object, where: str) -> str:
    """The instructions that some APIs take apart from the messages."""
    return content_text(value, f"{where}: the system text") if value else ""


def response_texts(body: object, where: str) -> list[str] | str:
    """The whole texts of a response; if it has none, the reason."""
    if isinstance(body, str):
        return [body] if body.strip() else NO_TEXT
    if not isinstance(body, Mapping) or body.get("error"):
        return "failed request"
    found = [choice_text(choice, where) for choice in choices_of(body, where)]
    texts = [text for text, why in found if why is None]
    return texts or next((why for _, why in found if why), NO_TEXT)


def choices_of(body: Mapping[str, object], where: str) -> Sequence[Mapping[str, object]]:
    """The choices of a response, each {message or text, finish_reason}."""
    for key, reason in (("output", body.get("status")), ("content", body.get("stop_reason"))):
        items = body.get(key)
        if isinstance(items, list):
            # The items of one response are one text. Some hold parts in turn; others are reasoning or calls of tools.
            given = [item for item in objects(items, where) if item.get("type") not in REASONING]
            parts = [part for item in given for part in content_parts(item, where)]
            message = {
                "content": [part for part in parts if part.get("type") in TEXT_PARTS],
                "refusal": any(part.get("type") == "refusal" for part in parts),
                "tool_calls": any("call" in str(part.get("type")) or part.get("type") == "tool_use" for part in parts),
            }
            return [{"message": message, "finish_reason": reason}]
    choices = body.get("choices")
    return objects(choices, where) if isinstance(choices, list) else []


def content_parts(item: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]]:
    """The parts of an item of a response: those of a message, or itself if it is one."""
    content = item.get("content")
    return objects(content, where) if isinstance(content, list) else [item]


def objects(values: Sequence[object], where: str) -> Sequence[Mapping[str, Any]]:
    """The values, if each is an object."""
    found = [value for value in values if isinstance(value, Mapping)]
    if len(found) < len(values):
        wrong = next(value for value in values if not isinstance(value, Mapping))
        raise DataError(f"{where}: the response holds {wrong!r:.60} in place of an object; remove the record")
    return found


def choice_text(choice: Mapping[str, object], where: str) -> tuple[str, str | None]:
    """The text of a choice, and why it cannot be used; None if it can."""
    message = choice.get("message")
    given: Mapping[str, object] = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    reason = choice.get("finish_reason")
    if given.get("tool_calls") or given.get("function_call"):
        return "", "tool call"
    if given.get("refusal"):
        return "", "refusal"
    if reason in CUT:
        return "", "cut at the length limit"
    if reason not in WHOLE:
        return "", f"finish reason {reason!s:.40}"
    content = given.get("content")
    text = content_text(content, f"{where}: the response") if content else ""
    return text, None if text.strip() else NO_TEXT
