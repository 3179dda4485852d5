"""A proxy in front of the present teacher that records its texts. Everything passes through as it arrives.

    /understudy/health, /understudy/metrics     of the proxy; all other paths are those of the upstream

The upstream gets the client's headers, its key among them, which are never written. What becomes of the bodies is in
`recorded_traffic`.
"""

import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
import uvicorn
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from understudy.errors import ConfigError, first_line
from understudy.serving.http_process import bound_socket, log_lines, received_body
from understudy.serving.limits import ProxyLimits
from understudy.serving.metrics import ProxyMetrics
from understudy.serving.proxy_messages import (
    PassedOn,
    Passing,
    Refused,
    passed_headers,
    refusal,
)
from understudy.serving.recorded_traffic import RECORDED_PATHS, Exchange, exchange_records
from understudy.serving.records import KeepTexts, RecordWriter

PROXY_ACCESS = logging.getLogger("understudy.access")
PROXY_FAILURES = logging.getLogger("understudy.proxy")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CONNECT_S = 10.0
OK = 200


@dataclass(frozen=True)
class ProxySettings:
    """What the proxy is in front of, and what it keeps."""

    upstream: httpx2.URL
    """The base URL that clients use at present; paths stay as they are."""
    keep: KeepTexts
    limits: ProxyLimits = field(default_factory=ProxyLimits)


class Proxy:
    """Passes requests on, and hands what it recorded to the writer."""

    def __init__(self, settings: ProxySettings) -> None:
        self.settings = settings
        self.metrics = ProxyMetrics()
        self.writer = RecordWriter(settings.keep, lambda outcome: self.metrics.records.labels(outcome).inc())
        # A client keeps cookies, and would send those of one user with the requests of the next.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        timeout = httpx2.Timeout(settings.limits.timeout_s, connect=CONNECT_S)
        self.client = httpx2.AsyncClient(cookies=jar, limits=limits, timeout=timeout, follow_redirects=False)
        self._in_flight = 0

    async def respond(self, request: Request) -> Response:
        """The upstream's response, or why there is none."""
        begun = time.monotonic()
        self._in_flight += 1
        self.metrics.in_flight.inc()

        def ended(status: int) -> None:
            self._in_flight -= 1
            self.metrics.in_flight.dec()
            self.metrics.requests.labels(status).inc()
            self.metrics.seconds.observe(time.monotonic() - begun)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            ms = round(1000 * (time.monotonic() - begun), 1)
            line = {"time": now, "method": request.method, "path": request.scope["path"], "status": status, "ms": ms}
            PROXY_ACCESS.info("%s", json.dumps(line, ensure_ascii=False))

        try:
            return await self._passed_on(request, ended)
        except Refused as refused:
            response = refusal(refused)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it; the log does
        except Exception:  # noqa: BLE001 - an exception would not be counted as the end of the request
            PROXY_FAILURES.exception("a request failed")
            response = refusal(Refused(500, "the proxy failed to pass the request on; its log says why"))
        ended(response.status_code)
        return response

    async def _passed_on(self, request: Request, ended: Callable[[int], None]) -> Response:
        limits = self.settings.limits
        if self._in_flight > limits.in_flight:
            raise Refused(429, f"{limits.in_flight} requests are in flight already; try again later")
        is_recorded = request.method == "POST" and request.scope["path"].rstrip("/").endswith(RECORDED_PATHS)
        body = await received_body(request, limits.body_bytes, Refused, "the proxy's limit") if is_recorded else None
        reply = await self._reply(request, body)
        passing = Passing(limits.record_bytes if is_recorded and reply.status_code == OK else 0)

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in reply.aiter_raw():
                passing.add(chunk)
                yield chunk
            passing.is_complete = True

        def all_ended() -> None:
            ended(reply.status_code)
            if body is not None and passing.limit:
                self._record(body, passing, reply)

        return PassedOn(reply, chunks(), all_ended)

    async def _reply(self, request: Request, body: bytes | None) -> httpx2.Response:
        """The beginning of the upstream's response.

        Raises:
            Refused: if there is none.
        """
        headers = [(name, value) for name, value in passed_headers(request.headers.raw) if name != b"host"]
        if body is not None:
            # What is compressed is not recorded; and the size is that of the body, whatever the client has sent.
            other = (b"accept-encoding", b"content-length")
            headers = [(name, value) for name, value in headers if name not in other]
            headers.append((b"accept-encoding", b"identity"))
        has_body = any(name in request.headers for name in ("content-length", "transfer-encoding"))
        query = request.scope["query_string"]
        target: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
        try:
            url = self.settings.upstream.copy_with(raw_path=target)
            content = body if body is not None else request.stream() if has_body else None
            sent = httpx2.Request(request.method, url, headers=headers, content=content)
            return await self.client.send(sent, stream=True)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise Refused(400, "the path is no path of a URL; correct it") from None
        except httpx2.ConnectTimeout as error:
            raise Refused(502, self._unreachable(error)) from None
        except httpx2.TimeoutException:
            sentence = f"the upstream sent nothing for {self.settings.limits.timeout_s:g} s; try again"
            raise Refused(504, sentence) from None
        except httpx2.TransportError as error:
            raise Refused(502, self._unreachable(error)) from None

    def _unreachable(self, error: httpx2.TransportError) -> str:
        reason = f"{type(error).__name__}: {first_line(error)}"
        return f"{self.settings.upstream} gave no response ({reason}); check that it runs, and --upstream"

    def _record(self, request: bytes, passed: Passing, reply: httpx2.Response) -> None:
        compressed = reply.headers.get("content-encoding", "identity") != "identity"
        if not passed.is_complete or max(passed.size, len(request)) > passed.limit or compressed:
            self.metrics.records.labels("incomplete").inc()
            return
        streamed = reply.headers.get("content-type", "").startswith("text/event-stream")
        name = reply.headers.get("x-request-id") or f"request-{uuid.uuid4().hex}"
        exchange = Exchange(request, bytes(passed.kept), streamed, name)
        self.writer.submit(lambda: exchange_records(exchange))


def proxy_app(settings: ProxySettings) -> Starlette:
    """The application of the proxy.

    Raises:
        ConfigError: as `prepared`.
        StoreError: as `prepared`.
    """
    proxy = Proxy(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with proxy.client:
            yield
        proxy.writer.close()

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(proxy.metrics.registry), media_type="text/plain; version=0.0.4")

    routes = [
        Route("/understudy/health", health),
        Route("/understudy/metrics", metrics),
        Route("/{path:path}", proxy.respond, methods=METHODS),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def upstream_url(text: str) -> httpx2.URL:
    """The upstream's base URL.

    Raises:
        ConfigError: if it is no HTTP URL, or holds a key.
    """
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise ConfigError(f"--upstream is {text!r}; give the base URL that clients use now, https://api.openai.com/v1")
    if url.userinfo:
        raise ConfigError("--upstream holds a name or a password; leave it out: the client's headers are passed on")
    return url


def record_until_signal(settings: ProxySettings, *, host: str, port: int, started: Callable[[str], None]) -> None:
    """Runs the proxy until a signal ends it, after every request that was accepted has its response and is recorded.

    Args:
        settings: of the proxy.
        host: address or name of the interface.
        port: 0 takes a free one.
        started: called with the base URL for clients once connections are accepted.

    Raises:
        ConfigError: if the address cannot be used, or as `prepared`.
        StoreError: as `prepared`.
    """
    with bound_socket(host, port) as (accepting, address):
        app = proxy_app(settings)
        log_lines()
        # An upstream that breaks off ends the connection by an exception, which uvicorn would log with a traceback.
        config = uvicorn.Config(app, access_log=False, log_level="critical", server_header=False, date_header=False)
        started(f"{address}{settings.upstream.path.rstrip('/')}")
        uvicorn.Server(config).run(sockets=[accepting])
