"""HTTP messages as a proxy passes them on: headers, bodies as they arrive, and refusals of its own."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx2
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

OF_ONE_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
"""Headers that are not passed on (RFC 9110, 7.6.1), in addition to those that Connection names."""
Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """A request that the proxy answers itself. It never leaves it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Passing:
    """What of a response has passed."""

    limit: int
    """Bytes that are kept; 0 where nothing is recorded."""
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0
    is_complete: bool = False

    def add(self, chunk: bytes) -> None:
        """Counts a piece, and keeps it up to the limit."""
        self.size += len(chunk)
        if self.size <= self.limit:
            self.kept += chunk


class PassedOn(StreamingResponse):
    """A response of the upstream, passed on as it arrives; `ended` is called whatever happens to it."""

    def __init__(self, reply: httpx2.Response, chunks: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(chunks, reply.status_code)
        self.raw_headers = passed_headers(reply.headers.raw)
        self._reply, self._ended = reply, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `StreamingResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()
            await self._reply.aclose()


def passed_headers(headers: Headers) -> Headers:
    """The headers that are passed on, with lower-case names."""
    lower = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in lower if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in lower if name not in OF_ONE_CONNECTION | named]


def refusal(refused: Refused) -> Response:
    """An error in OpenAI's shape, as clients of the upstream expect it."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"  # noqa: PLR2004 - a status of HTTP
    error = {"message": str(refused), "type": kind, "param": None, "code": None}
    headers = {"retry-after": "1"} if refused.status == 429 else {}  # noqa: PLR2004 - the same
    return JSONResponse({"error": error}, refused.status, headers)
