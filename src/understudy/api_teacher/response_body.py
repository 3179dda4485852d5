"""Validates the body of a chat completion: the only place where a server's reply becomes our own types.

A reply is hostile until it is checked. A choice or a log-probability that is malformed is dropped alone, because the
rest is paid for; a body that cannot be read at all is a failed request.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from understudy.api_teacher.journal import CompletionChoice
from understudy.api_teacher.request_types import RequestFailed, Response
from understudy.config.endpoint import Endpoint

BASE_BYTES, TEXT_BYTES, TOKEN_BYTES = 1 << 16, 64, 256
"""Bytes of a reply without texts, of a token of a text (escaped), and of a token with its log-probability."""
EXTRA_TOKENS = 64
"""Positions beyond max_tokens that are accepted: some servers end a character that they have begun."""
LONGEST_NAME = 60
"""Characters of a finish reason and a model's name that are kept."""
REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Fields of a message in which servers return what the model wrote before its answer."""
ROUNDING = 1e-3
"""A log-probability may exceed 0 by this much."""


def response_limit(endpoint: Endpoint, texts: int) -> int:
    """The most bytes that a reply of so many texts needs; a longer one is not read to its end."""
    listed = 0 if not endpoint.top_logprobs else (2 + endpoint.top_logprobs) * TOKEN_BYTES
    return BASE_BYTES + texts * (endpoint.max_tokens + EXTRA_TOKENS) * (TEXT_BYTES + listed)


def parse_response_body(body: bytes, endpoint: Endpoint, texts: int) -> Response:
    """The choices and the token counts of a reply.

    Args:
        body: as received, decompressed.
        endpoint: bounds the length of a text and the number of alternatives.
        texts: the number of texts requested; further ones are dropped.

    Raises:
        RequestFailed: if the body is not a chat completion.
    """
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError, MemoryError) as error:  # bad UTF-8, 5,000 digits, depth
        raise _malformed() from error
    return parse_completion(plain, endpoint, texts)


def parse_completion(plain: object, endpoint: Endpoint, texts: int) -> Response:
    """As `parse_response_body`, of a reply that is already decoded: that of a batch holds many."""
    if not isinstance(plain, Mapping) or not isinstance(plain.get("choices"), list):
        raise _malformed()
    parsed = (_choice(choice, endpoint) for choice in plain["choices"][:texts])
    choices = [choice for choice in parsed if choice is not None]
    usage = plain.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("completion_tokens_details")
    reported = _count(usage.get("completion_tokens"))
    # llama-server counts the tokens of the first choice alone.
    received = sum(len(choice.logprobs or ()) for choice in choices)
    return Response(
        choices,
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=None if reported is None else max(reported, received),
        reasoning_tokens=_count(details.get("reasoning_tokens")) if isinstance(details, Mapping) else None,
    )


def _malformed() -> RequestFailed:
    return RequestFailed("malformed response", retryable=True, billed=True)


def _count(value: object) -> int | None:
    """A number of tokens; None if it is none. Whether it can be true is decided where the request is known."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _choice(plain: object, endpoint: Endpoint) -> CompletionChoice | None:
    message = plain.get("message") if isinstance(plain, Mapping) else None
    if not isinstance(plain, Mapping) or not isinstance(message, Mapping):
        return None
    text, reason = _content(message.get("content")), plain.get("finish_reason")
    if text is None or not isinstance(reason, str | None):
        return None
    listed = plain.get("logprobs")
    positions = listed.get("content") if isinstance(listed, Mapping) else None
    finish_reason = without_surrogates(reason or "")[:LONGEST_NAME]
    reasoned = not text.strip() and any(_content(message.get(name)) for name in REASONING_FIELDS)
    return CompletionChoice(without_surrogates(text), finish_reason, _positions(positions, endpoint), reasoned)


def _content(content: object) -> str | None:
    """The text of a message: a text, null, or a list of parts, of which reasoning is left out."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    return "" if content is None else content if isinstance(content, str) else None


def _positions(positions: object, endpoint: Endpoint) -> list[Mapping[str, object]] | None:
    """The log-probabilities of a text; None if one of them is unusable, so that the text is learned as text."""
    if not isinstance(positions, list) or not 0 < len(positions) <= endpoint.max_tokens + EXTRA_TOKENS:
        return None
    kept = [_position(position, endpoint.top_logprobs + 1) for position in positions]
    usable = [position for position in kept if position is not None]
    return usable if len(usable) == len(kept) else None


def _position(plain: object, most: int) -> Mapping[str, object] | None:
    """One token with its alternatives, of which a server may list the generated token in addition."""
    own = _token(plain)
    listed = plain.get("top_logprobs") if isinstance(plain, Mapping) else None
    if own is None or not isinstance(listed, list | None):
        return None
    top = [_token(other) for other in (listed or [])[:most]]
    if None in top:
        return None
    return {"token": own[0], "logprob": own[1], "top": [list(other) for other in top if other is not None]}


def _token(plain: object) -> tuple[str | list[int], float] | None:
    """A token as text if the text spells all its bytes, else as bytes: a token may hold a part of a character."""
    if not isinstance(plain, Mapping):
        return None
    text, spelled, logprob = plain.get("token"), plain.get("bytes"), plain.get("logprob")
    if not isinstance(text, str) or not _is_logprob(logprob) or not _is_bytes(spelled):
        return None
    text = without_surrogates(text)
    return text if spelled is None or list(text.encode()) == spelled else list(spelled), logprob


def _is_logprob(value: Any) -> TypeGuard[float]:  # noqa: ANN401 - a part of a reply
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value < ROUNDING


def _is_bytes(value: Any) -> bool:  # noqa: ANN401 - a part of a reply
    return value is None or (isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value))  # noqa: PLR2004 - bytes


def without_surrogates(text: str) -> str:
    """The text as a file can hold it: half of a character, which some servers send, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
