"""Hostile requests to a server of texts, by kind: bodies, paths, headers, broken HTTP, and ways of sending.

A request is a list of what happens on its connection: bytes are sent, a number is a pause in seconds.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from understudy.serving.requests import UNSUPPORTED

PATHS = ("/v1/chat/completions", "/v1/completions")
MODEL = "gpt-4o"
"""An alias, as an application uses it that asked the teacher before."""
MEGABYTE = 1_000_000
CLOSE = "Connection: close"
Sent = list[bytes | float]
Plain = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of hostile request."""

    make: Callable[[Random, str], Sent]
    """From random choices and a correct source."""
    valid: bool = True
    """Whether it is a request of HTTP, so that its answer has OpenAI's shape."""
    aborts: bool = False
    """Whether the client closes the connection without reading."""
    ends: bool = False
    """Whether the client says that nothing follows: the server waits for the rest of what is no request."""


def post(body: bytes, path: str = PATHS[1], *headers: str, length: object = None, method: str = "POST") -> bytes:
    """A request, with a true length unless another one is given."""
    size = len(body) if length is None else length
    head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {size}", CLOSE, *headers))
    return f"{head}\r\n\r\n".encode("latin-1") + body


def correct(source: str, path: str = PATHS[1]) -> Plain:
    """The body of a correct request."""
    asked: Plain = {"prompt": source} if path == PATHS[1] else {"messages": [{"role": "user", "content": source}]}
    return {"model": MODEL, **asked}


def changed(**fields: object) -> Callable[[Random, str], Sent]:
    """A correct request to either path, but for these fields."""
    return body_of(lambda rng, plain: {**plain, **fields})


def body_of(make: Callable[[Random, Plain], object]) -> Callable[[Random, str], Sent]:
    """A request to either path with this body, made of a correct one."""

    def sent(rng: Random, source: str) -> Sent:
        path = rng.choice(PATHS)
        made = make(rng, correct(source, path))
        return [post(made if isinstance(made, bytes) else json.dumps(made).encode(), path)]

    return sent


def with_json(text: str) -> Callable[[Random, str], Sent]:
    """A request whose field is written like this: what `json.dumps` does not write."""

    def make(rng: Random, plain: Plain) -> bytes:
        field = rng.choice(FIELDS)
        return json.dumps({**plain, field: "PLACE"}).replace('"PLACE"', text).encode()

    return body_of(make)


def raw(*made: bytes) -> Kind:
    """Bytes that are no request of HTTP."""
    return Kind(lambda rng, source: [rng.choice(made)], valid=False, ends=True)


def noise(rng: Random, size: int) -> bytes:
    """Random bytes."""
    return rng.randbytes(size)


FIELDS = (
    "model", "prompt", "messages", "n", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed",
    "stream", "stream_options", "logprobs", *UNSUPPORTED,
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 17, 1e308, -0.0, 10**30, "", "x", "7", "\x00", "é" * 5000, [], [[]], [None], ["", ""],
    {}, {"a": {}}, [1, "a"], ["a"] * 100, {"include_usage": "yes"}, {"role": "user"}, [{"role": "user"}],
)  # fmt: skip
TEXTS = (
    "\x00", "a\x00b", "\ufeff", "\u202e" * 99, "a" * 5000, "a\u0301" * 3000, "😀" * 2000, "</s><s><pad>", "{source}",
    "{{7*7}} %s {} \\", "<b>x</b>", "'; DROP TABLE texts; --", "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "\t \n",
    "../../../../etc/passwd", "\ud7ff\ue000\uffff", "\U0010ffff", "ﷺ" * 500, "word " * 9000, "\x1b[2J\x07",
)  # fmt: skip
NAMES = ("__proto__", "__class__", "self", "", "\x00", "n" * 5000, "😀", "max_token", "Model", "model ", "a.b")
ODD_PATHS = (
    "/v1/../../../etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd", "/%00", "//", "/v1/completions/", "/v1/completions%2f",
    "/v1/completions/../models/x", "/" + "a" * 10_000, "/v1/completions;a=b", "/docs", "/openapi.json", "/.git/", "/",
    "/%ff%fe", "/v1/%F0%9F%98%80", "http://other.example/v1/x", "/v1/completions%00", "/V1/Models", "/v1\\completions",
)  # fmt: skip
ODD_HEADERS = (
    "Content-Type: text/plain; charset=klingon", "Content-Type: multipart/form-data", "Content-Encoding: gzip",
    "Authorization: Bearer \xff\xfe", "Authorization: " + "A" * 20_000, "Expect: 100-continue", "X-Real-IP: \xff",
    "X-Forwarded-Proto: gopher", "Accept: */*;q=nan", "Upgrade: websocket", "Cookie: " + "a=b;" * 999,
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAA", "X-HTTP-Method-Override: DELETE",
)  # fmt: skip
ODD_HOSTS = (
    "[::1",
    "a/../b?c#d",
    "[",
    "",
    "a:99999",
    "a b",
    "@",
    "\xff",
    "a" * 10_000,
    "[v1.x]",
    "x:y:z",
    "/v1/models",
)
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "post")
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"

BODIES: dict[str, Callable[[Random, str], Sent]] = {
    "not JSON": body_of(lambda rng, _: rng.choice([b"", b"{", b"null", b"[]", b'"a"', b"1e999", b"}", b"\x00", b"{]"])),
    "half of the JSON": body_of(lambda rng, plain: json.dumps(plain).encode()[: rng.randint(1, 20)]),
    "random bytes": body_of(lambda rng, _: noise(rng, rng.randint(1, 2000))),
    "bad UTF-8": body_of(lambda rng, plain: json.dumps(plain).encode().replace(b"gpt", b"\xff\xfe\xc0\x80")),
    "UTF-16": body_of(lambda rng, plain: json.dumps(plain).encode("utf-16")),
    "byte order mark": body_of(lambda rng, plain: b"\xef\xbb\xbf" + json.dumps(plain).encode()),
    "deep list": body_of(lambda rng, _: b"[" * rng.choice([100, 1000, 50_000])),
    "deep field": with_json("[" * 3000 + "]" * 3000),
    "deep object": with_json('{"a":' * 150 + "1" + "}" * 150),
    "half a character": with_json('"cut \\ud83d"'),
    "half a character as a name": body_of(lambda rng, plain: json.dumps(plain)[:-1].encode() + b', "\\udc00": 1}'),
    "NaN": with_json("NaN"),
    "Infinity": with_json("-Infinity"),
    "1e999": with_json("1e999"),
    "5,000 digits": with_json("9" * 5000),
    "wrong value": body_of(lambda rng, plain: {**plain, rng.choice(FIELDS): rng.choice(VALUES)}),
    "two wrong values": body_of(
        lambda rng, plain: {**plain, **{rng.choice(FIELDS): rng.choice(VALUES) for _ in range(3)}}
    ),
    "field left out": body_of(lambda rng, plain: dict(list(plain.items())[rng.randint(1, 2) :])),
    "unknown field": body_of(lambda rng, plain: {**plain, rng.choice(NAMES): rng.choice(VALUES)}),
    "same field twice": body_of(lambda rng, plain: json.dumps(plain)[:-1].encode() + b', "model": 7, "model": "a"}'),
    "odd text": lambda rng, source: body_of(lambda _, plain: plain)(rng, rng.choice(TEXTS)),
    "1 MB of text": lambda rng, source: body_of(lambda _, plain: plain)(rng, source * (MEGABYTE // len(source) - 1)),
    "3 MB of text": lambda rng, source: body_of(lambda _, plain: plain)(rng, source * (3 * MEGABYTE // len(source))),
    "giant n": body_of(lambda rng, plain: {**plain, "n": rng.choice([10**9, 17, 2**63, -(2**31)])}),
    "many texts": changed(n=16, temperature=2),
    "many prompts": body_of(lambda rng, plain: {**plain, "prompt": ["a"] * rng.choice([64, 65, 10_000])}),
    "giant seed": changed(seed=10**40, temperature=1),
    "cold": changed(temperature=5e-324),
    "long stop": changed(stop=["s" * 100_000, "\x00", "é"]),
    "other model": body_of(
        lambda rng, plain: {**plain, "model": rng.choice(["../../etc/passwd", "m" * 9999, "\x00", ""])}
    ),
    "many messages": changed(messages=[{"role": "user", "content": "a"}] * 5000),
    "odd message": body_of(lambda rng, plain: {**plain, "messages": [{"role": "user", "content": rng.choice(VALUES)}]}),
    "odd part": changed(
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]
    ),
    "odd role": changed(messages=[{"role": "\x00" * 999, "content": "a"}]),
    "stream of wrong values": body_of(lambda rng, plain: {**plain, "stream": True, "n": rng.choice(VALUES)}),
    "logprobs": changed(logprobs=5, top_logprobs=5),
}
BROKEN: dict[str, Kind] = {
    "no HTTP": raw(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 999,
        b"SSH-2.0-x\r\n",
        b"\r\n" * 500,
        b"hello\r\n\r\n",
    ),
    "random": Kind(lambda rng, _: [noise(rng, rng.randint(1, 5000))], valid=False, ends=True),
    "version": raw(
        b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    ),
    "length": raw(
        *(HEAD + b"Content-Length: " + size + b"\r\n\r\n{}" for size in (b"-5", b"x", b"1e3", b"9" * 40, b"", b"+2"))
    ),
    "two lengths": raw(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    "length and chunks": raw(
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"
    ),
    "chunks": raw(
        *(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk
            for chunk in (b"zz\r\n", b"-1\r\n", b"f" * 40 + b"\r\n", b"2\r\n{}x")
        )
    ),
    "encoding": raw(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", HEAD + b"Transfer-Encoding: \xff\r\n\r\n"),
    "header": raw(
        *(
            HEAD + line + b"\r\n\r\n"
            for line in (b"no colon", b": empty", b"a\x00b: c", b"a: b\x00", b" folded: x", b"a b: c")
        )
    ),
    "long header": raw(HEAD + b"X: " + b"y" * 500_000 + b"\r\n\r\n", HEAD + b"X: " + b"y" * 500_000),
    "many headers": raw(HEAD + b"".join(b"X%d: y\r\n" % i for i in range(20_000)) + b"\r\n"),
    "long path": raw(b"GET /" + b"a" * 500_000, b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "more than its length": raw(HEAD + b"Content-Length: 2\r\n\r\n{}" + b"x" * 5000),
    "less than its length": Kind(lambda rng, _: [HEAD + b"Content-Length: 500\r\n\r\n{"], valid=False, aborts=True),
    "HEAD": Kind(lambda rng, _: [post(b"", rng.choice([*PATHS, "/health"]), method="HEAD")], valid=False),
    "CONNECT": Kind(lambda rng, _: [post(b"", "a:80", method="CONNECT")], valid=False),
    "host": Kind(
        lambda rng, source: [
            post(json.dumps(correct(source)).encode()).replace(
                b"Host: a", b"Host: " + rng.choice(ODD_HOSTS).encode("latin-1")
            )
        ],
        valid=False,
    ),
}


def sliced(rng: Random, source: str) -> Sent:
    """A correct request in five pieces with pauses."""
    whole = post(json.dumps(correct(source)).encode())
    cuts = sorted(rng.sample(range(1, len(whole)), 4))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return [part for piece in pieces for part in (piece, rng.random() / 20)]


def pipelined(rng: Random, source: str, last: bytes = b"") -> Sent:
    """Several correct requests at once."""
    one = post(json.dumps(correct(source)).encode())
    return [one.replace(f"{CLOSE}\r\n".encode(), b"") * rng.randint(1, 6) + (last or one)]


def chunked(_rng: Random, source: str) -> Sent:
    """A correct body, a byte in each chunk."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(correct(source)).encode())
    return [HEAD + f"{CLOSE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"]


KINDS: dict[str, Kind] = {
    **{f"body: {name}": Kind(make) for name, make in BODIES.items()},
    "path": Kind(lambda rng, source: [post(json.dumps(correct(source)).encode(), rng.choice(ODD_PATHS))]),
    "method": Kind(lambda rng, source: [post(b"{}", rng.choice([*PATHS, "/health"]), method=rng.choice(METHODS))]),
    "headers": Kind(
        lambda rng, source: [post(json.dumps(correct(source)).encode(), PATHS[1], rng.choice(ODD_HEADERS))]
    ),
    **{f"broken: {name}": kind for name, kind in BROKEN.items()},
    "sent in pieces": Kind(sliced),
    "sent in chunks": Kind(chunked),
    "never complete": Kind(lambda rng, source: [post(b'{"model": ', length=500)]),
    "pipelined": Kind(pipelined, valid=False),
    "pipelined with garbage": Kind(lambda rng, source: pipelined(rng, source, b"\x00\xff\r\n\r\n"), valid=False),
    "closed early": Kind(lambda rng, source: [post(json.dumps(correct(source)).encode())], valid=False, aborts=True),
    "closed within the body": Kind(lambda rng, source: [post(b'{"model"', length=99), 0.02], valid=False, aborts=True),
    "closed within the headers": Kind(lambda rng, source: [HEAD, 0.02], valid=False, aborts=True),
}
