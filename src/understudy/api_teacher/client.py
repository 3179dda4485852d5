"""Sends one request to an OpenAI-compatible server with the official client (the extra `openai`).

The client's own retries are off: `scheduler` retries, so that the journal records every attempt and its cost. A request
has one deadline, from its start to the last byte of the reply, and a limit on the bytes of the reply.
"""

import asyncio
import json
import os
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from understudy.api_teacher.request_body import Dialect, adapt, refused_parameters, request_body
from understudy.api_teacher.request_types import RequestFailed, Response
from understudy.api_teacher.response_body import parse_response_body, response_limit, without_surrogates
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError

OPENAI_URL = "https://api.openai.com/v1"
FATAL_STATUSES = {401, 402, 403, 404}
"""The key, the credit, the address or the model's name is wrong: no other request can succeed."""
TIMEOUT, RATE_LIMITED, SERVER_ERROR = 408, 429, 500
ERRORS_FROM = 400
"""Statuses below are redirects, which are not followed: the key must not be sent elsewhere."""
INVALID = {400, 422}
"""Statuses with which servers refuse a parameter."""
LONGEST_RETRY_AFTER_S = 600.0
INPUT_CODES = {"content_filter", "context_length_exceeded"}
"""Codes of errors with which servers refuse one input, and would take others."""
LONGEST_MESSAGE, LONGEST_CODE, LONGEST_EXCERPT = 200, 40, 60
"""Characters that are shown of a server's error message, of its code, and of a reply that is none."""
BATCH_BYTES = 100 << 20
"""Limit of a batch's output file, which is read at once."""
BATCH_CALL_S = 600.0
"""Deadline of an upload or download of a batch's file."""
NOT_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "InvalidURL",
    "LocalProtocolError",
    "PoolTimeout",
    "ProxyError",
    "UnicodeEncodeError",
    "UnsupportedProtocol",
}
"""Exceptions of the HTTP client after which the server has not received the request."""


class ReplyTooLong(Exception):
    """A reply that exceeds the limit of bytes, as received or decompressed."""


class Reply(NamedTuple):
    """What a server sent with status 200."""

    body: bytes
    content_type: str


@dataclass
class ApiClient:
    """Sends requests in the dialect of the server, which is adapted while it answers the first one."""

    openai: Any
    """The official client."""
    endpoint: Endpoint
    dialect: Dialect
    secret: str
    """The key, which is removed from messages."""

    async def send(self, source: str, texts: int) -> Response:
        """Sends one request, as `send_body`."""
        return await self.send_body(request_body(self.endpoint, self.dialect, source, texts), self.endpoint.timeout_s)

    async def send_body(self, body: Mapping[str, Any], deadline_s: float) -> Response:
        """Sends a request with this body.

        Raises:
            RequestFailed: if it brings no text.
            GenerationError: if no request can succeed.
        """
        extra = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        create = self.openai.chat.completions.with_raw_response.create
        reply = await self.call(
            lambda: create(model=body["model"], messages=body["messages"], extra_body=extra), deadline_s
        )
        try:
            return parse_response_body(reply.body, self.endpoint, body.get("n", 1))
        except RequestFailed as failure:
            shown = self._shown(reply.body.decode(errors="replace"), LONGEST_EXCERPT)
            reason = f"{failure.reason}: {self._shown(reply.content_type or 'no type', LONGEST_EXCERPT)} {shown!r}"
            raise RequestFailed(reason, retryable=failure.retryable, billed=failure.billed) from failure

    async def send_first(self, source: str, texts: int) -> Response:
        """As `send`; a parameter that the server refuses is left out or renamed where this changes no text."""
        while True:
            dialect = self.dialect
            try:
                return await self.send(source, texts)
            except RequestFailed as failure:
                body = request_body(self.endpoint, dialect, source, texts)
                refused = refused_parameters(failure.message, failure.param, body) if failure.refused else []
                if not refused:
                    raise
                if self.dialect == dialect:  # else another request has adapted it meanwhile
                    self.dialect = adapt(dialect, self.endpoint, body, refused, failure.message)

    async def call(self, request: Callable[[], Awaitable[Any]], deadline_s: float) -> Reply:
        """The reply to a call of the official client.

        Raises:
            RequestFailed: if it fails.
            GenerationError: if no request can succeed.
        """
        import openai

        try:
            async with asyncio.timeout(deadline_s):
                reply = await request()
            received = reply.http_response
            return Reply(received.content, received.extensions["content_type"])
        except openai.APIStatusError as error:
            raise self.status_error(error.status_code, error.response.headers, error.response.content) from error
        except (openai.APIConnectionError, TimeoutError) as error:
            raise self._connection_error(error) from error
        except Exception as error:
            raise RequestFailed(f"malformed response ({type(error).__name__})", retryable=True, billed=True) from error

    def _connection_error(self, error: BaseException) -> RequestFailed:
        cause = error.__cause__ or error
        name = type(cause).__name__
        if name in NOT_SENT:
            reason = f"{self.url} cannot be reached: {_innermost(cause)}"
            # A server that is only busy may be too slow to accept a connection.
            return RequestFailed(reason, retryable=True, billed=False, unreachable="Timeout" not in name)
        if isinstance(cause, ReplyTooLong):
            return RequestFailed("response too long", retryable=True, billed=True)
        late = isinstance(error, TimeoutError) or isinstance(cause, TimeoutError) or "Timeout" in name
        return RequestFailed("timeout" if late else "connection lost", retryable=True, billed=True)

    def status_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        """The error of a status other than 200."""
        message, param, code = _error_fields(body)
        message = self._shown(message, LONGEST_MESSAGE)
        words = f" ({message})" if message else ""
        if status in FATAL_STATUSES or code == "insufficient_quota" or status < ERRORS_FROM:
            return GenerationError(
                f"the endpoint returned status {status}{words} for model {self.endpoint.model!r} at {self.url}; check "
                f"the key in {self.endpoint.key}, its credit, the model's name and base_url"
            )
        if status == RATE_LIMITED:
            wait_s = _retry_after_s(headers.get("retry-after"))
            return RequestFailed("rate limited (429)", retryable=True, billed=False, retry_after_s=wait_s)
        # A gateway's 502 or 504 may come after the model has generated the text, and been billed for it.
        from_server = status >= SERVER_ERROR
        said = message or repr(self._shown(body.decode(errors="replace"), LONGEST_EXCERPT))
        return RequestFailed(
            f"HTTP status {status}"
            + (f" ({self._shown(code, LONGEST_CODE)})" if code else "")
            + f": {said}" * bool(body),
            retryable=from_server or status == TIMEOUT,
            billed=from_server,
            refused=status in INVALID,
            message=message,
            param=param,
            of_input=code in INPUT_CODES,
        )

    def _shown(self, text: str, longest: int) -> str:
        """A server's words on one line, without the key, shortened."""
        known = without_surrogates(text).replace(self.secret, "***")  # before it is cut, which could leave half a key
        words = " ".join("".join(letter if letter.isprintable() else " " for letter in known[: 10 * longest]).split())
        return words if len(words) <= longest else f"{words[:longest]}..."

    @property
    def url(self) -> str:
        """The server's address."""
        return self.endpoint.base_url or OPENAI_URL


@asynccontextmanager
async def open_client(endpoint: Endpoint) -> AsyncIterator[ApiClient]:
    """The client of the server.

    Raises:
        GenerationError: if the openai package is not installed, or the key is missing or cannot be sent.
    """
    try:
        import openai
    except ImportError as error:
        raise GenerationError(
            "an API teacher needs the openai client, which is not installed; pip install 'understudy[openai]'"
        ) from error
    key = read_key(endpoint)
    limit = response_limit(endpoint, endpoint.per_request)

    class LimitedHttpClient(openai.DefaultAsyncHttpxClient):
        """Reads each reply completely, within the limit, before anything interprets it."""

        async def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401 - types of the HTTP library
            reply = await super().send(request, **{**options, "stream": True})
            try:
                most = BATCH_BYTES if request.url.path.endswith("/content") else limit
                body = await _read(reply, most)
            finally:
                await reply.aclose()
            kept = [item for item in reply.headers.multi_items() if not item[0].lower().startswith(("content-", "tr"))]
            headers = [*kept, ("content-type", "application/json")]
            kind = {"content_type": reply.headers.get("content-type", "")}
            return type(reply)(reply.status_code, headers=headers, content=body, request=request, extensions=kind)

    # The deadline of `call` bounds the whole request; connecting ends earlier, so that it is known not to be sent.
    timeout = openai.Timeout(None, connect=min(30.0, endpoint.timeout_s / 2))
    http_client = LimitedHttpClient(timeout=timeout, follow_redirects=False)
    base_url = endpoint.base_url or OPENAI_URL
    async with openai.AsyncOpenAI(
        api_key=key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http_client
    ) as client:
        yield ApiClient(client, endpoint, Dialect.of(endpoint), key)


def read_key(endpoint: Endpoint) -> str:
    """The key, from its environment variable.

    Raises:
        GenerationError: if it is missing, or a header cannot hold it.
    """
    key = os.environ.get(endpoint.key, "")
    if not key:
        raise GenerationError(
            f"the endpoint's key is read from the environment variable {endpoint.key}, which is not set; export it (a "
            "local server accepts any value), or name another variable: teacher.endpoint.key in a recipe, "
            "--teacher-key of the command serve"
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise GenerationError(
            f"the key in the environment variable {endpoint.key} has {len(key)} characters, among them one that cannot "
            "be sent (a line end, a space at an end or a letter outside ASCII); set it again without it"
        )
    return key


async def _read(reply: Any, most: int) -> bytes:  # noqa: ANN401 - a reply of the HTTP library
    """The body, decompressed; neither form is read beyond the limit."""
    received = bytearray()
    async for chunk in reply.aiter_raw():
        received += chunk
        if len(received) > most:
            raise ReplyTooLong
    encoding = reply.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        return bytes(received)
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise ReplyTooLong  # the length is unknown before it is decompressed, and we did not ask for it
    body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(received), most + 1)  # 32: gzip or zlib
    if len(body) > most:
        raise ReplyTooLong
    return body


def _innermost(error: BaseException) -> str:
    """The first cause in a chain of exceptions, such as "[Errno 111] Connection refused"."""
    seen = [error]
    while (following := seen[-1].__cause__ or seen[-1].__context__) is not None and following not in seen:
        seen.append(following)
    return next(
        (str(one) for one in reversed(seen) if isinstance(one, OSError) and str(one)),
        str(error) or type(error).__name__,
    )


def _error_fields(body: bytes) -> tuple[str, object, str]:
    """Message, parameter and code of an error's body, as far as it has them; providers nest them differently."""
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return "", None, ""
    plain = plain[0] if isinstance(plain, list) and plain else plain
    error = plain.get("error", plain) if isinstance(plain, Mapping) else {}
    fields = error if isinstance(error, Mapping) else {"message": error}
    message = fields.get("message") or fields.get("detail") or ""
    shown = message if isinstance(message, str) else json.dumps(message)
    code = fields.get("code")
    code = code if isinstance(code, str) and re.fullmatch(rf"[\w.-]{{1,{LONGEST_CODE}}}", code) else ""
    return shown, fields.get("param"), code


def _retry_after_s(text: str | None) -> float:
    """A Retry-After header in seconds; 0 for a date, which few servers send, so that the usual backoff applies."""
    try:
        wait_s = float(text or 0)
    except ValueError:
        return 0.0
    return min(wait_s, LONGEST_RETRY_AFTER_S) if wait_s > 0 else 0.0  # not for nan
