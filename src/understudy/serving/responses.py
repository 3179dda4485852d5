"""Responses in the shape of the OpenAI API: whole, as server-sent events, and errors."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from understudy.serving.deployment import Answer, TokenLogprob
from understudy.serving.records import AnsweredBy
from understudy.serving.requests import RefusedRequest, TextRequest

ApiKind = Literal["chat", "completion"]
ERROR_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
"""Status -> type of the error; others are `invalid_request_error` below 500 and `server_error` from there on."""


@dataclass(frozen=True)
class AnsweredSource:
    """The texts for one source."""

    answers: tuple[Answer, ...]
    source_tokens: int
    text_tokens: int
    """These two count in the tokens of the system that answered."""
    answered_by: AnsweredBy = "student"
    confidence: float | None = None
    """The student's lowest, also where the teacher answers; None if the student generated nothing."""
    failure: str = ""
    """Why the teacher's endpoint, which was to answer, did not."""


@dataclass(frozen=True)
class AnsweredRequest:
    """A request with its texts."""

    kind: ApiKind
    id: str
    created: int
    """Seconds since 1970."""
    request: TextRequest
    sources: Sequence[AnsweredSource]

    @property
    def answers(self) -> list[Answer]:
        """Those of the first source, then those of the next one."""
        return [answer for source in self.sources for answer in source.answers]

    @property
    def source_tokens(self) -> int:
        """Tokens of the sources."""
        return sum(source.source_tokens for source in self.sources)

    @property
    def text_tokens(self) -> int:
        """Generated tokens."""
        return sum(source.text_tokens for source in self.sources)


def answered_facts(answered: AnsweredRequest) -> dict[str, Any]:
    """What the access log has of an answer."""
    sources = answered.sources
    known = [source.confidence for source in sources if source.confidence is not None]
    failures = [source.failure for source in sources if source.failure]
    by = [source.answered_by for source in sources]
    return {
        "source_tokens": answered.source_tokens,
        "text_tokens": answered.text_tokens,
        "texts": len(answered.answers),
        "answered_by": by[0] if len(set(by)) == 1 else by,
        **({"confidence": round(min(known), 4)} if known else {}),
        **({"teacher_failures": failures} if failures else {}),
    }


def whole_response(answered: AnsweredRequest) -> bytes:
    """The response that is not streamed."""
    choices = [_choice(answered, index, answer) for index, answer in enumerate(answered.answers)]
    return _json({**_head(answered, chunk=False), "choices": choices, "usage": _usage(answered)})


def event_stream(answered: AnsweredRequest) -> bytes:
    """The response as server-sent events: each text in one piece, for all are complete by then."""
    return b"".join(b"data: " + line + b"\n\n" for line in (*map(_json, _chunks(answered)), b"[DONE]"))


def error_body(refused: RefusedRequest) -> bytes:
    """The body of an error."""
    fallback = "invalid_request_error" if refused.status < 500 else "server_error"  # noqa: PLR2004 - a status of HTTP
    error = {
        "message": str(refused),
        "type": ERROR_TYPES.get(refused.status, fallback),
        "param": refused.param,
        "code": refused.code,
    }
    return _json({"error": error})


def up_to_stop(answer: Answer, stop: Sequence[str]) -> Answer:
    """An answer that ends before the first of these texts."""
    found = [place for text in stop if (place := answer.text.find(text)) >= 0]
    if not found:
        return answer
    text = answer.text[: min(found)]
    return replace(answer, text=text, finished=True, logprobs=_up_to(answer.logprobs, len(text.encode())))


def _up_to(logprobs: tuple[TokenLogprob, ...] | None, size: int) -> tuple[TokenLogprob, ...] | None:
    """The tokens that begin within so many bytes of the text, which is stripped of the spaces around it."""
    if logprobs is None:
        return None
    raw = b"".join(token.content for token in logprobs)
    size += len(raw) - len(raw.lstrip())
    kept, position = [], 0
    for token in logprobs:
        if position >= size:
            break
        kept.append(token)
        position += len(token.content)
    return tuple(kept)


def _chunks(answered: AnsweredRequest) -> Iterator[dict[str, Any]]:
    head = _head(answered, chunk=True)
    for index, answer in enumerate(answered.answers):
        choice = _choice(answered, index, answer)
        end = {"index": index, "finish_reason": choice["finish_reason"], "logprobs": None}
        choice["finish_reason"] = None
        if answered.kind == "chat":
            choice["delta"] = choice.pop("message")
            yield {**head, "choices": [choice]}
            yield {**head, "choices": [{**end, "delta": {}}]}
        else:
            yield {**head, "choices": [choice]}
            yield {**head, "choices": [{**end, "text": ""}]}
    if answered.request.include_usage:
        yield {**head, "choices": [], "usage": _usage(answered)}


def _head(answered: AnsweredRequest, *, chunk: bool) -> dict[str, Any]:
    kind = "text_completion"
    if answered.kind == "chat":
        kind = "chat.completion.chunk" if chunk else "chat.completion"
    return {"id": answered.id, "object": kind, "created": answered.created, "model": answered.request.model}


def _choice(answered: AnsweredRequest, index: int, answer: Answer) -> dict[str, Any]:
    shared = {"index": index, "finish_reason": "stop" if answer.finished else "length"}
    if answered.kind == "chat":
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return {**shared, "message": message, "logprobs": _chat_logprobs(answer)}
    return {**shared, "text": answer.text, "logprobs": _completion_logprobs(answer)}


def _chat_logprobs(answer: Answer) -> dict[str, Any] | None:
    if answer.logprobs is None:
        return None
    content = [
        {"token": _shown(token), "bytes": list(token.content), "logprob": token.logprob, "top_logprobs": []}
        for token in _textual(answer.logprobs)
    ]
    return {"content": content, "refusal": None}


def _completion_logprobs(answer: Answer) -> dict[str, Any] | None:
    if answer.logprobs is None:
        return None
    tokens = _textual(answer.logprobs)
    shown = [_shown(token) for token in tokens]
    return {
        "tokens": shown,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": None,
        "text_offset": [sum(map(len, shown[:index])) for index in range(len(shown))],
    }


def _textual(logprobs: Sequence[TokenLogprob]) -> list[TokenLogprob]:
    return [token for token in logprobs if token.content]


def _shown(token: TokenLogprob) -> str:
    return token.content.decode(errors="replace")


def _usage(answered: AnsweredRequest) -> dict[str, int]:
    source, text = answered.source_tokens, answered.text_tokens
    return {"prompt_tokens": source, "completion_tokens": text, "total_tokens": source + text}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
