"""Conversations as text: which turn is the source and which the target, by the names of the roles.

A system turn is never taken for the source. Turns that call tools, show images or have an unknown role are refused, for
a student maps text to text. What a record holds is in `record_formats.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.config.task import TurnPolicy
from understudy.errors import DataError

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
"""Name of a role -> one of three roles."""
TOOL_ROLES = ("tool", "function", "function_call", "observation")
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of the parts of a message that are text."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns before an answer as one source, and what was left out of it."""

    source: str
    system: str
    """The system turns, which are the same for all inputs of most tasks."""


def turns_of(value: object, where: str) -> list[Turn]:
    """The turns of a list of messages: {role, content}, or {from, value}.

    Raises:
        DataError: for anything else, unknown roles, tools, and content that is not text.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: the conversation is {value!r:.60}; it must be a list of messages")
    return [turn_of(message, f"{where}, message {number}") for number, message in enumerate(value, start=1)]


def turn_of(message: object, where: str) -> Turn:
    """One turn."""
    given = message if isinstance(message, Mapping) else {}
    role_key, text_key = ("from", "value") if "from" in given else ("role", "content")
    role = given.get(role_key)
    if role in TOOL_ROLES or given.get("tool_calls") or given.get("function_call"):
        raise DataError(f"{where}: uses a tool, and understudy learns texts from texts; remove the conversation")
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{where}: {role_key!r} is {role!r:.60}; known roles: {', '.join(ROLES)}")
    return Turn(ROLES[role], content_text(given.get(text_key), f"{where}: {text_key!r}"))


def content_text(content: object, where: str) -> str:
    """The text of a message: a text, or a list of parts that are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise DataError(f"{where} is {content!r:.60}; it must be a text or a list of parts")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") in TEXT_PARTS else part
        if not isinstance(text, str):
            found = part.get("type") if isinstance(part, Mapping) else part
            raise DataError(f"{where} has a part {found!r:.60}, which is not text; remove the conversation")
        texts.append(text)
    return "\n".join(texts)


def split_answer(turns: Sequence[Turn]) -> tuple[list[Turn], str | None]:
    """The turns before the answer, and the answer: the last turn, if it is the assistant's."""
    spoken = [turn for turn in turns if turn.role != "system"]
    if spoken and spoken[-1].role == "assistant":
        last = max(index for index, turn in enumerate(turns) if turn is spoken[-1])
        return [turn for index, turn in enumerate(turns) if index != last], spoken[-1].text
    return list(turns), None


def conversation(turns: Sequence[Turn], where: str, policy: TurnPolicy) -> Conversation:
    """The turns before an answer as a source.

    Args:
        turns: without the answer.
        where: the file and the position in it, for messages.
        policy: what is done with several turns: refuse them, keep the last user message alone, or write all turns.

    Raises:
        DataError: if the last turn is not the user's, or there are several and the policy refuses them.
    """
    spoken = [turn for turn in turns if turn.role != "system"]
    system = "\n".join(turn.text for turn in turns if turn.role == "system")
    if not spoken or spoken[-1].role != "user":
        raise DataError(f"{where}: no user message before the answer; remove the conversation")
    if len(spoken) == 1 or policy == "last":
        return Conversation(spoken[-1].text, system)
    if policy == "refuse":
        raise DataError(
            f"{where}: {len(spoken)} turns before the answer; set task.format.turns (init: --turns) to last (the last "
            "user message is the source) or to all (all turns are, each with its role), or remove the conversation"
        )
    return Conversation("\n".join(f"{turn.role}: {turn.text}" for turn in spoken), system)
