"""The server: paths of the OpenAI API, health and metrics, in front of a batcher.

What a request means is in `requests`, how responses look in `responses`, how processes start and end in `server`.
"""

import asyncio
import hmac
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from understudy.errors import ModelError, shortened
from understudy.serving.batching import Batcher, QueueFull
from understudy.serving.deployment import Answering, Deployment, TextSettings, open_deployment
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.requests import RefusedRequest, RequestForm, TextRequest, chat_request, completion_request
from understudy.serving.responses import AnsweredRequest, ApiKind, error_body, event_stream, up_to_stop, whole_response

ACCESS = logging.getLogger("understudy.access")
FAILURES = logging.getLogger("understudy.server")
Read = Callable[[bytes, RequestForm, TextSettings], TextRequest]
READ: dict[ApiKind, Read] = {"chat": chat_request, "completion": completion_request}
API_PATHS: dict[str, ApiKind] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
SHORT_SOURCES = 2_000
"""Characters that are encoded on the event loop, in about a millisecond."""
ID_PREFIXES: dict[ApiKind, str] = {"chat": "chatcmpl", "completion": "cmpl"}


@dataclass(frozen=True)
class ServerSettings:
    """What a worker process serves, and how."""

    deployment: Deployment
    form: RequestForm
    names: tuple[str, ...]
    """Names of the model that requests may use; the first is its own."""
    limits: ServerLimits = field(default_factory=ServerLimits)
    device: str = "cpu"
    engines: int = 1
    """Copies of the network that generate at the same time."""
    threads: int | None = None
    """CPU threads of each; None: the engine's choice."""
    token_variable: str | None = None
    """Environment variable of the bearer token that requests need; None: they need none."""
    log_texts: bool = False


class TextServer:
    """Answers requests: reads them, has their sources generated, writes the responses and the access log."""

    def __init__(self, settings: ServerSettings, answerings: list[Answering]) -> None:
        self.settings = settings
        self.metrics = ServerMetrics()
        self.batcher = Batcher([one.texts for one in answerings], settings.limits, called=self._called)
        self._answering = answerings[0]
        # Long texts take longer to encode than the event loop may be blocked; short ones do not wait for them.
        self._encoder = ThreadPoolExecutor(1, "encoder")
        self._token = os.environ[settings.token_variable].encode() if settings.token_variable else None
        self._started = int(time.time())

    def close(self) -> None:
        """Ends the threads after what was accepted is answered."""
        self.batcher.close()
        self._encoder.shutdown()

    async def respond(self, request: Request) -> Response:
        """The response to a request for texts, whatever becomes of it."""
        path = request.scope["path"]  # `request.url` is built from the header Host, which may be anything
        kind = API_PATHS[path]
        name = f"{ID_PREFIXES[kind]}-{uuid.uuid4().hex}"
        facts: dict[str, Any] = {}
        begun = time.monotonic()
        with self.metrics.in_progress.track_inprogress():
            try:
                async with asyncio.timeout(self.settings.limits.timeout_s):
                    response = await self._response(request, kind, name, facts)
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it; the log does
            except Exception as error:  # noqa: BLE001 - a fault of one request must not look like one of the network
                response = error_response(self._refusal(error))
        response.headers["x-request-id"] = name
        self._record(path, response.status_code, time.monotonic() - begun, {"id": name, **facts})
        return response

    def models(self, request: Request) -> Response:
        """The model, under each of its names."""
        try:
            self._authorise(request)
        except RefusedRequest as refused:
            return error_response(refused)
        data = [
            {"id": name, "object": "model", "created": self._started, "owned_by": "understudy"}
            for name in self.settings.names
        ]
        return json_response(json.dumps({"object": "list", "data": data}).encode())

    async def _response(self, request: Request, kind: ApiKind, name: str, facts: dict[str, Any]) -> Response:
        self._authorise(request)
        body = await _body(request, self.settings.limits.body_bytes)
        self.batcher.refuse_full()  # before the work of reading
        wanted = READ[kind](body, self.settings.form, self._answering.evaluated)
        if wanted.model not in self.settings.names:
            known = ", ".join(self.settings.names)
            raise RefusedRequest(
                404,
                f"there is no model {shortened(wanted.model)}, only {known}; the option --alias adds a name",
                param="model",
                code="model_not_found",
            )
        answered = await self._answered(wanted, kind, name)
        facts |= {
            "source_tokens": answered.source_tokens,
            "text_tokens": answered.text_tokens,
            "texts": len(answered.answers),
            "confidence": round(min(answer.confidence for answer in answered.answers), 4),
        }
        if self.settings.log_texts:
            facts |= {"sources": wanted.sources, "outputs": [answer.text for answer in answered.answers]}
        if wanted.stream:
            return Response(
                event_stream(answered), media_type="text/event-stream", headers={"cache-control": "no-cache"}
            )
        return json_response(whole_response(answered))

    async def _answered(self, wanted: TextRequest, kind: ApiKind, name: str) -> AnsweredRequest:
        if sum(map(len, wanted.sources)) <= SHORT_SOURCES:
            rows = self._answering.encode(wanted.sources)
        else:
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._encoder, self._answering.encode, wanted.sources)
        for row in rows:
            if (reason := self._answering.refusal(row)) is not None:
                raise RefusedRequest(400, reason, code="context_length_exceeded")
        futures = self.batcher.submit(rows, wanted.settings, seeded=wanted.seeded)
        self.metrics.waiting.set(self.batcher.waiting)
        several = await asyncio.gather(*map(asyncio.wrap_future, futures))
        answers = [up_to_stop(answer, wanted.stop) for texts in several for answer in texts]
        for answer in answers:
            self.metrics.text_tokens.inc(answer.tokens)
            self.metrics.confidence.observe(answer.confidence)
        return AnsweredRequest(kind, name, int(time.time()), wanted, sum(map(len, rows)), answers)

    def _authorise(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if self._token is not None and not hmac.compare_digest(given, b"Bearer " + self._token):
            raise RefusedRequest(
                401, "the bearer token is missing or wrong; send the server's as api_key", code="invalid_api_key"
            )

    def _refusal(self, error: Exception) -> RefusedRequest:
        """The error response of a request that failed."""
        limits = self.settings.limits
        match error:
            case RefusedRequest():
                return error
            case QueueFull():
                return RefusedRequest(
                    429, f"{limits.queue} sources wait already; try again later", code="queue_full", retry_after_s=1
                )
            case TimeoutError():
                return RefusedRequest(504, f"no answer within {limits.timeout_s:g} s; try again", code="timeout")
            case ModelError():
                return RefusedRequest(400, f"logprobs: {error}", param="logprobs")
        FAILURES.error("a request failed", exc_info=error)
        return RefusedRequest(500, "the server failed to answer this request; its log says why")

    def _called(self, sources: int, tokens: int) -> None:
        self.metrics.called(sources, tokens)
        self.metrics.waiting.set(self.batcher.waiting)

    def _record(self, path: str, status: int, seconds: float, facts: dict[str, Any]) -> None:
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "path": path, "status": status, "ms": round(1000 * seconds, 1), **facts}
        ACCESS.info(json.dumps(line, ensure_ascii=False))


def create_app(settings: ServerSettings) -> FastAPI:
    """The application of one worker process, with its engines open.

    Raises:
        ModelError: as `open_deployment`.
        GenerationError: as `open_deployment`.
    """
    with ExitStack() as opening:
        answerings = [
            opening.enter_context(
                open_deployment(settings.deployment, device=settings.device, threads=settings.threads)
            )
            for _ in range(settings.engines)
        ]
        return app_of(settings, answerings, opening.pop_all())


def app_of(settings: ServerSettings, answerings: list[Answering], opened: ExitStack) -> FastAPI:
    """The application in front of open engines.

    Args:
        settings: of the process.
        answerings: one for each engine.
        opened: closed when the application ends.
    """
    server = TextServer(settings, answerings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with opened:
            yield
            server.close()

    app = FastAPI(title="understudy", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    for path in API_PATHS:
        app.add_route(path, server.respond, methods=["POST"])  # nothing for FastAPI to read: half of its time

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        return server.models(request)

    @app.get("/health")
    async def health() -> Response:
        """Whether the process answers."""
        return json_response(b'{"status": "ok"}')

    @app.get("/ready")
    async def ready() -> Response:
        """Whether requests are accepted."""
        accepts = server.batcher.ready
        return json_response(json.dumps({"ready": accepts}).encode(), status=200 if accepts else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.page(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        server.metrics.requests.labels("other", error.status_code).inc()
        sentence = f"{request.method} {shortened(request.scope['path'])}: {error.detail}; see /v1/models and the manual"
        return error_response(RefusedRequest(error.status_code, sentence))

    return app


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request; of one that is too large the rest is read too, for clients read no response before.

    Raises:
        RefusedRequest: with status 413.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
    if size > limit:
        raise RefusedRequest(413, f"the body has {size} bytes and the limit is {limit}; send less")
    return b"".join(chunks)


def error_response(refused: RefusedRequest) -> Response:
    """An error as a response."""
    response = json_response(error_body(refused), status=refused.status)
    if refused.retry_after_s:
        response.headers["retry-after"] = str(refused.retry_after_s)
    return response


def json_response(body: bytes, status: int = 200) -> Response:
    """A response whose body is JSON already."""
    return Response(body, status, media_type="application/json")
