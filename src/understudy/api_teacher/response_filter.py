"""Decides which texts of an API teacher become targets, and why others are rejected."""

import re
from typing import NamedTuple

from understudy.api_teacher.journal import CompletionChoice
from understudy.config.endpoint import Server
from understudy.models.reasoning import answer_start

FINISHED = {"stop", "eos", "end_turn", "stop_sequence", ""}
"""Finish reasons of complete texts."""
TRUNCATED = {"length", "max_tokens", "model_length"}
"""Finish reasons of texts that were cut at max_tokens."""
ONLY_REASONED = "empty, because the model only reasoned (raise max_tokens or set reasoning_effort)"
DEFAULT_ANSWER: str = Server.model_fields["answer"].default
CONTINUATIONS = ("x", "1", " ", "\n\nx")
"""Ways in which a truncated text may go on."""


class ParsedResponse(NamedTuple):
    """A usable text, or the reason why the response has none."""

    text: str
    rejected: str
    """Empty for a usable text."""
    start: int = 0
    """Where the text begins within the response, in characters."""


def parse_response(choice: CompletionChoice, endpoint: Server) -> ParsedResponse:
    """Extracts the text with the endpoint's `answer` pattern, or rejects the response (see `refusals`).

    Args:
        choice: the text as the server sent it.
        endpoint: settings `answer` and `refusals`.

    Returns:
        The text without white space at its ends, or one of a few reasons, so that rejections can be counted.
    """
    text, finish_reason = choice.text.strip(), choice.finish_reason.lower()
    truncated = finish_reason in TRUNCATED
    if not text:  # a reasoning model may use up max_tokens before its first visible token
        reasons = {"content_filter": "filtered by the server"} | dict.fromkeys(TRUNCATED, "truncated at max_tokens")
        reasons |= dict.fromkeys((*TRUNCATED, *FINISHED), ONLY_REASONED) if choice.reasoned else {}
        return ParsedResponse("", reasons.get(finish_reason, "empty"))
    if not truncated and finish_reason not in FINISHED:
        return ParsedResponse("", f"finish_reason {finish_reason}")
    begins = answer_after_reasoning(choice.text, endpoint)
    if begins is None or any(re.match(pattern, choice.text[begins:].lstrip()) for pattern in endpoint.refusals):
        return ParsedResponse("", ONLY_REASONED if begins is None else "refusal")
    found = _answer(choice.text, endpoint)
    if truncated and not (found and _is_whole(choice.text, found, endpoint)):
        return ParsedResponse("", "truncated at max_tokens")
    if not found or not found[0].strip():
        return ParsedResponse("", "no match of the answer pattern")
    inner, start = found
    return ParsedResponse(inner.strip(), "", start + len(inner) - len(inner.lstrip()))


def answer_after_reasoning(text: str, endpoint: Server) -> int | None:
    """Where the answer begins in a response with reasoning, which some servers send as text; None if it has not begun.

    An `answer` pattern of the user's decides itself what is reasoning.
    """
    return answer_start(text) if endpoint.answer == DEFAULT_ANSWER else 0


def _answer(text: str, endpoint: Server) -> tuple[str, int] | None:
    """The group of the `answer` pattern and where it begins; None if the pattern does not match."""
    start = answer_after_reasoning(text, endpoint) or 0
    found = re.compile(endpoint.answer, re.DOTALL).fullmatch(text, start)
    group = 1 if found and found.re.groups else 0
    return (found[group] or "", found.start(group)) if found else None


def _is_whole(text: str, answer: tuple[str, int], endpoint: Server) -> bool:
    """Whether the answer of a truncated text ends before the cut, so that it would be the same if the text went on."""
    inner, start = answer
    ends_before = start + len(inner) < len(text)
    return ends_before and all(_answer(text + more, endpoint) == answer for more in CONTINUATIONS)
