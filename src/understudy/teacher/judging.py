"""Which answers of an endpoint are targets, and why others are not."""

import re
from collections.abc import Mapping

from understudy.config.endpoint import Endpoint
from understudy.teacher.journal import Answer

FINISHED = {"stop", "eos", ""}


def judged(
    input_id: str, text: str, finish: str, logprobs: list[Mapping[str, object]] | None, endpoint: Endpoint
) -> Answer:
    """An answer as it goes into the journal.

    Args:
        input_id: what was asked about.
        text: as the server gave it.
        finish: why it ended, in the server's words.
        logprobs: as the server gave them.
        endpoint: which form an answer has, and how refusals begin.
    """
    if not text.strip():
        return Answer(input_id, "", "filtered by the server" if finish == "content_filter" else "empty")
    if finish not in FINISHED:
        return Answer(input_id, "", "cut at max_tokens" if finish == "length" else f"ended by {finish}")
    if any(re.match(pattern, text.strip()) for pattern in endpoint.refusals):
        return Answer(input_id, "", "a refusal")
    found = re.fullmatch(endpoint.answer, text, re.DOTALL)
    if not found:
        return Answer(input_id, "", "not of the form asked for")
    return Answer(input_id, found[1] if found.re.groups else found[0], logprobs=logprobs)
