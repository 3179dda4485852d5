"""Which answers of an endpoint are targets, and why others are not."""

import re
from typing import NamedTuple

from understudy.api_teacher.journal import Choice
from understudy.config.endpoint import Endpoint

FINISHED = {"stop", "eos", ""}


class ParsedResponse(NamedTuple):
    """A text that is a target, or the reason why there is none."""

    text: str
    rejected: str
    start: int = 0
    """Where the text begins within the answer, in characters."""


def parse_response(choice: Choice, endpoint: Endpoint) -> ParsedResponse:
    """What an answer is worth under these settings: which form an answer has, and how refusals begin."""
    text, finish = choice.text.strip(), choice.finish
    if not text:
        return ParsedResponse("", "filtered by the server" if finish == "content_filter" else "empty")
    if finish not in FINISHED:
        return ParsedResponse("", "cut at max_tokens" if finish == "length" else f"ended by {finish}")
    if any(re.match(pattern, text) for pattern in endpoint.refusals):
        return ParsedResponse("", "a refusal")
    found = re.fullmatch(endpoint.answer, choice.text, re.DOTALL)
    group = 1 if found and found.re.groups else 0
    inner = (found[group] or "") if found else ""
    if not found or not inner.strip():
        return ParsedResponse("", "not of the form asked for")
    return ParsedResponse(inner.strip(), "", found.start(group) + len(inner) - len(inner.lstrip()))
