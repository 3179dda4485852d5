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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from understudy.errors import ModelError, shortened
from understudy.serving.answer_records import answer_records
from understudy.serving.batching import QueueFull
from understudy.serving.deployment import Answering, Deployment, TextSettings, open_deployment
from understudy.serving.drift import DevTexts, Drift, dev_values
from understudy.serving.http_messages import error_response, json_response
from understudy.serving.http_process import received_body
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.records import KeepTexts, RecordWriter
from understudy.serving.requests import RefusedRequest, RequestForm, TextRequest, chat_request, completion_request
from understudy.serving.responses import (
    AnsweredRequest,
    ApiKind,
    answered_facts,
    event_stream,
    whole_response,
)
from understudy.serving.routing import Router, UpstreamSettings, open_router
from understudy.serving.student import StudentQueue
from understudy.serving.upstream import Asked

ACCESS = logging.getLogger("understudy.access")
FAILURES = logging.getLogger("understudy.server")
Read = Callable[[bytes, RequestForm, TextSettings], TextRequest]
READ: dict[ApiKind, Read] = {"chat": chat_request, "completion": completion_request}
API_PATHS: dict[str, ApiKind] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
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
    upstream: UpstreamSettings | None = None
    """A teacher's endpoint behind the student; None: there is none."""
    dev: DevTexts = field(default_factory=DevTexts)
    alarm: float = 0.2
    """Distance of recent requests from `dev`, from 0 to 1, above which the log warns."""
    keep: KeepTexts | None = None
    """Where requests and answers are recorded; None: nowhere."""


class TextServer:
    """Answers requests: reads them, has their sources answered, writes the responses and the access log."""

    def __init__(self, settings: ServerSettings, answerings: list[Answering]) -> None:
        self.settings = settings
        self.metrics = ServerMetrics()
        deferral = settings.upstream.deferral if settings.upstream else None
        dev = dev_values(settings.dev, answerings[0], deferral.defers if deferral else None)
        self._drift = Drift(dev, settings.alarm, self.metrics)
        self.student = StudentQueue(answerings, settings.limits, self.metrics, self._drift)
        self.router: Router | None = None
        keep = settings.keep
        self.writer = RecordWriter(keep, lambda outcome: self.metrics.records.labels(outcome).inc()) if keep else None
        self._token = os.environ[settings.token_variable].encode() if settings.token_variable else None
        self._started = int(time.time())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The event loop's part; at the end of the context what was accepted is answered and recorded."""
        async with AsyncExitStack() as stack:
            if self.writer is not None:
                stack.callback(self.writer.close)
            stack.callback(self.student.close)
            own = self.settings
            if own.upstream is not None:
                self.router = await stack.enter_async_context(
                    open_router(
                        self.student, own.upstream, self._drift, own.limits, self.metrics, log_texts=own.log_texts
                    )
                )
            yield

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
                    until = begun + self.settings.limits.timeout_s
                    response = await self._response(request, kind, name, until, facts)
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it; the log does
            except Exception as error:  # noqa: BLE001 - a fault of one request must not look like one of the network
                response = error_response(self._refusal(error))
        response.headers["x-request-id"] = name
        self._record(path, response.status_code, time.monotonic() - begun, {"id": name, **facts})
        return response

    def models(self) -> dict[str, object]:
        """The model, under each of its names."""
        data = [
            {"id": name, "object": "model", "created": self._started, "owned_by": "understudy"}
            for name in self.settings.names
        ]
        return {"object": "list", "data": data}

    def shadow(self) -> dict[str, Any]:
        """How student and teacher agree where both answer.

        Raises:
            RefusedRequest: if no request is answered by both.
        """
        if self.router is None or self.router.shadow is None:
            raise RefusedRequest(404, "no request is answered by both systems; start the server with --shadow")
        return self.router.shadow.report()

    def listed(self, content: Callable[[], object]) -> Callable[[Request], Awaitable[Response]]:
        """What responds with something about the server, to those who may send requests."""

        async def respond(request: Request) -> Response:
            try:
                self._authorise(request)
                return json_response(json.dumps(content(), ensure_ascii=False).encode())
            except RefusedRequest as refused:
                return error_response(refused)

        return respond

    async def _response(
        self, request: Request, kind: ApiKind, name: str, until: float, facts: dict[str, Any]
    ) -> Response:
        self._authorise(request)
        if self.router is None or self.router.student_first:
            self.student.refuse_late()  # before the work of reading
        body = await received_body(request, self.settings.limits.body_bytes, RefusedRequest)
        wanted = READ[kind](body, self.settings.form, self.student.evaluated)
        if wanted.model not in self.settings.names:
            known = ", ".join(self.settings.names)
            raise RefusedRequest(
                404,
                f"there is no model {shortened(wanted.model)}, only {known}; the option --alias adds a name",
                param="model",
                code="model_not_found",
            )
        asked = Asked(name, kind, body, wanted, until)
        sources = await (self.router.answers(asked) if self.router else self.student.answers(wanted))
        answered = AnsweredRequest(kind, name, int(time.time()), wanted, sources)
        facts |= answered_facts(answered)
        for source in sources:
            self.metrics.upstream.answers.labels(source.answered_by).inc()
        if self.settings.log_texts:
            facts |= {"sources": wanted.sources, "outputs": [answer.text for answer in answered.answers]}
        if self.writer is not None:
            self.writer.submit(lambda: answer_records(answered))
        if wanted.stream:
            headers = {"cache-control": "no-cache"}
            response = Response(event_stream(answered), media_type="text/event-stream", headers=headers)
        else:
            response = json_response(whole_response(answered))
        response.headers["x-understudy-answered-by"] = ", ".join(source.answered_by for source in sources)
        if failures := [source.failure for source in sources if source.failure]:
            response.headers["x-understudy-teacher-failure"] = ", ".join(failures)
        return response

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
                return RefusedRequest(429, str(error), code="queue_full", retry_after_s=1)
            case TimeoutError():
                return RefusedRequest(504, f"no answer within {limits.timeout_s:g} s; try again", code="timeout")
            case ModelError():
                return RefusedRequest(400, f"logprobs: {error}", param="logprobs")
        FAILURES.error("a request failed", exc_info=error)
        return RefusedRequest(500, "the server failed to answer this request; its log says why")

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
            async with server.opened():
                yield

    app = FastAPI(title="understudy", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    for path in API_PATHS:
        # As a plain route: FastAPI would spend half of its time on looking for parameters.
        app.add_route(path, server.respond, methods=["POST"])
    app.add_api_route("/v1/models", server.listed(server.models), response_model=None)
    app.add_api_route("/shadow", server.listed(server.shadow), response_model=None)

    @app.get("/health")
    async def health() -> Response:
        """Whether the process answers."""
        return json_response(b'{"status": "ok"}')

    @app.get("/ready")
    async def ready() -> Response:
        """Whether requests are accepted."""
        accepts = server.student.batcher.ready
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
