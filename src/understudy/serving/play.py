"""The server of `understudy play`: a page on which a run's student and teacher answer one input.

The page is in `play_page`: static files without any external resource, which request the JSON of `play_facts`. What a
run contributes is found by `pipeline/inspect/play.py`.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from understudy.errors import DataError, UnderstudyError, shortened
from understudy.report.templates import trusted_file
from understudy.serving.deployment import open_deployment
from understudy.serving.http_process import bound_socket, received_body
from understudy.serving.play_facts import (
    OpenSystem,
    PlaySettings,
    answer_facts,
    found_inputs,
    input_facts,
    open_system,
    run_facts,
)

PAGE_FOLDER = Path(__file__).parent / "play_page"
BODY_BYTES = 1_000_000
LOOPBACK = ("127.0.0.1", "localhost")
"""Hosts of requests to a server that other machines cannot reach; of a page elsewhere the browser sends another one."""


class _Question(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    source: Annotated[str, Field(max_length=1_000_000)]


def play_app(settings: PlaySettings, systems: Mapping[str, OpenSystem], *, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application in front of open systems.

    Args:
        settings: what the page shows.
        systems: name -> the system, which generates one text at a time.
        hosts: to which requests may be addressed.
    """
    app = FastAPI(
        title="understudy play",
        openapi_url=None,
        exception_handlers={UnderstudyError: _refused, Exception: _failed},
    )
    # Without it, a page of another origin whose name resolves to this machine could read texts of the run.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    locks = {name: asyncio.Lock() for name in systems}

    @app.get("/api/run")
    async def run() -> dict[str, Any]:
        return run_facts(settings)

    @app.get("/api/inputs")
    async def inputs(contains: str = "") -> dict[str, Any]:
        return found_inputs(settings.inputs, contains)

    @app.get("/api/inputs/{index}")
    async def chosen(index: int) -> dict[str, Any]:
        return input_facts(settings, index)

    @app.post("/api/answers/{name}")
    async def answer(name: str, request: Request) -> Response:
        if name not in systems:
            raise DataError(f"there is no system {shortened(name)} here, only {', '.join(systems)}")
        source = _source(await received_body(request, BODY_BYTES, lambda _, sentence: DataError(sentence)))
        async with locks[name]:
            if await request.is_disconnected():  # the page requests another input by now
                return Response(status_code=499)
            return JSONResponse(await run_in_threadpool(answer_facts, systems[name], source, prompt=settings.prompt))

    @app.get("/page.css")
    async def style() -> Response:
        return Response(trusted_file("page.css"), media_type="text/css")

    app.mount("/", StaticFiles(directory=PAGE_FOLDER, html=True))
    return app


@contextmanager
def play_server(settings: PlaySettings, *, host: str, port: int) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """The server of the page, its socket and its URL, with the systems open within the context.

    Args:
        settings: what the page shows.
        host: address or name of the interface.
        port: 0 takes a free one.

    Raises:
        ConfigError: if the address cannot be used.
        ModelError: if a network cannot be loaded.
        GenerationError: if its engine cannot open it.
    """
    with ExitStack() as opened:
        listener, address = opened.enter_context(bound_socket(host, port))
        example = settings.inputs[0].source
        systems = {
            name: open_system(opened.enter_context(open_deployment(own, device=settings.device)), example)
            for name, own in settings.deployments.items()
        }
        if settings.confidence is not None:
            systems["student"] = replace(systems["student"], calibration=settings.confidence.calibration)
        app = play_app(settings, systems, hosts=LOOPBACK if host in LOOPBACK else ("*",))
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
        yield server, listener, f"{address}/"


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _failed(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "the server failed to answer; its terminal shows why"}, 500)


def _source(body: bytes) -> str:
    try:
        return _Question.model_validate_json(body).source
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"the request is not {{'source': 'a text'}}: {first['msg']}") from None
