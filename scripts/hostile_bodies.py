"""The replies of a hostile server by kind: a correct one, what can be wrong with its JSON, and with its bytes."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

Plain = dict[str, Any]
MEGABYTE = 1 << 20
JSON = "Content-Type: application/json\r\n"


def honest(prompt: str) -> Plain:
    """A correct completion: the prompt in capitals, a token per word, with log-probabilities."""
    words = [word if number == 0 else f" {word}" for number, word in enumerate(prompt.upper().split(" "))]
    content: list[Plain] = [{"token": word, "logprob": -0.1, "bytes": None, "top_logprobs": []} for word in words]
    choice = {"message": {"content": prompt.upper()}, "finish_reason": "stop", "logprobs": {"content": content}}
    return {"choices": [choice], "usage": {"prompt_tokens": len(words), "completion_tokens": len(words)}}


def usage(value: object) -> Callable[[Plain], object]:
    """Replaces the whole usage."""
    return lambda plain: {**plain, "usage": value}


def count(value: object) -> Callable[[Plain], object]:
    """Replaces one count of tokens."""
    return lambda plain: {**plain, "usage": {**plain["usage"], "completion_tokens": value}}


def choice(**changes: object) -> Callable[[Plain], object]:
    """Replaces fields of the choice."""
    return lambda plain: {**plain, "choices": [{**plain["choices"][0], **changes}]}


def position(**changes: object) -> Callable[[Plain], object]:
    """Replaces fields of the first position's log-probability."""

    def change(plain: Plain) -> object:
        first, *rest = plain["choices"][0]["logprobs"]["content"]
        return choice(logprobs={"content": [{**first, **changes}, *rest]})(plain)

    return change


CHANGED: dict[str, Callable[[Plain], object]] = {
    "usage nan": count(float("nan")),
    "usage infinite": count(float("inf")),
    "usage negative": count(-5),
    "usage huge": count(10**400),
    "usage text": count("7"),
    "usage list": usage([1, 2]),
    "usage null": usage(None),
    "usage true": count(value=True),
    "usage zero": usage({"prompt_tokens": 0, "completion_tokens": 0}),
    "usage deep": count([[[[]]]]),
    "more choices": lambda plain: {**plain, "choices": plain["choices"] * 50},
    "no choices": lambda plain: {**plain, "choices": []},
    "choices null": lambda plain: {**plain, "choices": None},
    "choices text": lambda plain: {**plain, "choices": ["text", 7, None]},
    "message number": choice(message=7),
    "content number": choice(message={"content": 7}),
    "content half a character": choice(message={"content": "cut \ud83d"}),
    "content parts": choice(message={"content": [{"type": "text", "text": "PART"}, 7, {"type": "text"}]}),
    "finish_reason half a character": choice(finish_reason="\ud83d"),
    "finish_reason list": choice(finish_reason=["stop"]),
    "finish_reason long": choice(finish_reason="s" * 5000),
    "logprobs text": choice(logprobs="none"),
    "logprobs list": choice(logprobs=[1]),
    "positions null": choice(logprobs={"content": [None]}),
    "token null": position(token=None),
    "token half a character": position(token="\ud83d"),  # noqa: S106 - not a password
    "logprob null": position(logprob=None),
    "logprob text": position(logprob="-1"),
    "logprob infinite": position(logprob=float("-inf")),
    "logprob nan": position(logprob=float("nan")),
    "logprob positive": position(logprob=3.0),
    "bytes too large": position(bytes=[300]),
    "bytes negative": position(bytes=[-1]),
    "bytes text": position(bytes="abc"),
    "alternatives number": position(top_logprobs=3),
    "alternatives null": position(top_logprobs=[None]),
    "more alternatives": position(top_logprobs=[{"token": "a", "logprob": -1.0}] * 500),
    "error with status 200": lambda _plain: {"error": {"message": "overloaded"}},
    "a list": lambda plain: [plain],
    "a number": lambda _plain: 7,
}
"""Kind -> the JSON of a reply, made of a correct one."""


def reply(status: int, body: bytes, headers: str = "") -> bytes:
    """A complete HTTP reply."""
    return f"HTTP/1.1 {status} X\r\n{JSON}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


BOMB = gzip.compress(bytes(200 * MEGABYTE), compresslevel=9)
COMPRESSED = "Content-Encoding: gzip\r\n"
RAW: dict[str, Callable[[bytes], bytes]] = {
    "bad UTF-8": lambda body: reply(200, body.replace(b"QUESTION", b"\xff\xfe")),
    "half of the JSON": lambda body: reply(200, body[: len(body) // 2]),
    "deep": lambda _body: reply(200, b"[" * 100_000),
    "deep error": lambda _body: reply(400, b'{"error":' * 100_000),
    "5,000 digits": lambda body: reply(200, body.replace(b'"usage"', b'"x": ' + b"1" * 5000 + b', "usage"')),
    "HTML": lambda _body: reply(200, b"<html>Bad gateway</html>"),
    "stream": lambda body: reply(200, b"data: " + body + b"\n\ndata: [DONE]\n\n"),
    "empty": lambda _body: reply(200, b""),
    "gzip": lambda body: reply(200, gzip.compress(body), COMPRESSED),
    "gzip bomb": lambda _body: reply(200, BOMB, COMPRESSED),
    "deflate bomb": lambda _body: reply(200, zlib.compress(bytes(50 * MEGABYTE)), "Content-Encoding: deflate\r\n"),
    "gzip in name only": lambda body: reply(200, body, COMPRESSED),
    "unknown encoding": lambda body: reply(200, body, "Content-Encoding: zstd\r\n"),
    "unknown charset": lambda body: reply(200, body, "Content-Type: text/html; charset=klingon\r\n"),
    "too short": lambda body: reply(200, body)[:-20],
    "no HTTP": lambda _body: b"\x00\x01\x02 hello\r\n\r\n",
    "closed at once": lambda _body: b"",
    "long header": lambda body: reply(200, body, "X: " + "y" * 500_000 + "\r\n"),
    "redirect": lambda _body: reply(500, b"", "Location: http://127.0.0.1:9/\r\n"),
    "429 infinite": lambda _body: reply(429, b"{}", "Retry-After: inf\r\n"),
    "429 nan": lambda _body: reply(429, b"{}", "Retry-After: nan\r\n"),
    "429 thirty years": lambda _body: reply(429, b"{}", "Retry-After: 1e9\r\n"),
    "429 date": lambda _body: reply(429, b"{}", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"),
    "429 negative": lambda _body: reply(429, b"{}", "Retry-After: -5\r\n"),
    "400 half a character": lambda _body: reply(400, b'{"error": {"message": "\\ud83d", "param": ["\\ud83d"]}}'),
    "400 list": lambda _body: reply(400, b'[{"error": {"message": {"a": [1]}, "code": 7}}]'),
    "418": lambda _body: reply(418, b"\xff"),
    "500 long": lambda _body: reply(500, b"x" * (5 * MEGABYTE)),
    "204": lambda _body: b"HTTP/1.1 204 X\r\n\r\n",
}
"""Kind -> the bytes of a reply, made of the JSON of a correct one."""
ENDLESS = ("slow", "endless", "endless error", "endless header")
"""Kinds whose replies do not end by themselves."""
KINDS = (*CHANGED, *RAW, *ENDLESS)
FREE = {kind for kind in RAW if kind.startswith("4")} | {"deep error"}
"""Kinds for which no provider would bill: the server refuses the request."""
