"""Decides which texts of an API teacher become targets, and why others are rejected."""

import re
from typing import NamedTuple

from understudy.api_teacher.journal import CompletionChoice
from understudy.config.endpoint import Server

FINISHED = {"stop", "eos", ""}
"""Finish reasons of complete texts."""


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
    text, finish_reason = choice.text.strip(), choice.finish_reason
    if not text:
        return ParsedResponse("", "filtered by the server" if finish_reason == "content_filter" else "empty")
    if finish_reason not in FINISHED:
        return ParsedResponse(
            "", "truncated at max_tokens" if finish_reason == "length" else f"finish_reason {finish_reason}"
        )
    if any(re.match(pattern, text) for pattern in endpoint.refusals):
        return ParsedResponse("", "refusal")
    found = re.fullmatch(endpoint.answer, choice.text, re.DOTALL)
    group = 1 if found and found.re.groups else 0
    inner = (found[group] or "") if found else ""
    if not found or not inner.strip():
        return ParsedResponse("", "no match of the answer pattern")
    return ParsedResponse(inner.strip(), "", found.start(group) + len(inner) - len(inner.lstrip()))
