"""The server of `understudy play`: a page on which a run's student and teacher answer one input.

The page is in `play_page`: static files without any external resource, which request the JSON of this module. What a
run contributes is found by `pipeline/inspect/play.py`.
"""

import asyncio
import codecs
import math
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from understudy.errors import DataError, ModelError, UnderstudyError, shortened
from understudy.evaluation.consistency import item_errors
from understudy.records import Example, Prediction
from understudy.report.templates import trusted_file
from understudy.serving.deployment import Answering, Deployment, TextSettings, TokenLogprob, open_deployment
from understudy.serving.server import bound

PAGE = Path(__file__).parent / "play_page"
MOST_FOUND = 20
"""Test inputs that a search shows."""
LOOPBACK = ("127.0.0.1", "localhost")
"""Hosts of requests to a server that other machines cannot reach; of a page elsewhere the browser sends another one."""
PlayedSystem = Literal["student", "teacher"]


@dataclass(frozen=True)
class PlaySettings:
    """What the page shows of a run."""

    run: str
    """Name of the run."""
    deployments: Mapping[PlayedSystem, Deployment]
    """Of the student, and of a teacher that is not behind an API."""
    inputs: Sequence[Example]
    """The test split, with its references."""
    recorded: Sequence[str] | None
    """For each of these inputs the text of a teacher behind an API; None if the teacher answers here."""
    prompt: str
    """Items of it are not invented by a text that has them."""
    device: str = "cpu"


@dataclass(frozen=True)
class OpenSystem:
    """A system that answers."""

    answering: Answering
    settings: TextSettings
    no_tokens: str | None
    """Why the probabilities of its tokens are not known; None if they are."""


class _Question(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    source: Annotated[str, Field(max_length=1_000_000)]


def open_system(answering: Answering, example: str) -> OpenSystem:
    """A system after a first short text, because the first call of an engine takes longer than later ones.

    Args:
        answering: the system.
        example: a source.
    """
    settings = replace(answering.evaluated, logprobs=True)
    rows = answering.encode([example])
    try:
        answering.texts(rows, replace(settings, max_tokens=2))
    except ModelError as error:
        return OpenSystem(answering, replace(settings, logprobs=False), f"no token probabilities: {error}")
    return OpenSystem(answering, settings, None)


def answer_facts(system: OpenSystem, source: str, *, prompt: str) -> dict[str, Any]:
    """What the page shows of a system's answer.

    Args:
        system: that answers.
        source: the input.
        prompt: of the task.

    Returns:
        The text and its items that disagree with the source, probabilities from 0 to 1, and the milliseconds of
        tokenization and generation: without those of computing the probabilities of the tokens.

    Raises:
        DataError: if the source is empty or has too many tokens.
    """
    if not source.strip():
        raise DataError("the input is empty; type a text")
    ended: list[float] = []
    begun = perf_counter()
    rows = system.answering.encode([source])
    if (reason := system.answering.refusal(rows[0])) is not None:
        raise DataError(reason)
    ((answer, *_),) = system.answering.texts(rows, system.settings, lambda _: ended.append(perf_counter()))
    return {
        "text": answer.text,
        "pieces": pieces_of(answer.logprobs or ()),
        "no_tokens": system.no_tokens,
        "tokens": answer.tokens,
        "milliseconds": round(1000 * (ended[-1] - begun), 1),
        "confidence": answer.confidence,
        "probability": None,
        "finished": answer.finished,
        **_items(source, answer.text, prompt),
    }


def pieces_of(logprobs: Sequence[TokenLogprob]) -> list[tuple[str, float]]:
    """Tokens as texts of whole characters with their probabilities.

    The tokens that share a character are one piece with the product of their probabilities; the token that ends a text
    is an empty piece.
    """
    pieces = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, logprob = "", 0.0
    for token in logprobs:
        text += decoder.decode(token.content)
        logprob += token.logprob
        if not decoder.getstate()[0]:
            pieces.append((text, math.exp(min(0.0, logprob))))
            text, logprob = "", 0.0
    if rest := text + decoder.decode(b"", final=True):
        pieces.append((rest, math.exp(min(0.0, logprob))))
    return pieces


def play_app(settings: PlaySettings, systems: Mapping[str, OpenSystem], *, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application in front of open systems.

    Args:
        settings: what the page shows.
        systems: name -> the system, which generates one text at a time.
        hosts: to which requests may be addressed.
    """
    app = FastAPI(title="understudy play", openapi_url=None)
    # Without it, a page of another origin whose name resolves to this machine could read texts of the run.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    locks = {name: asyncio.Lock() for name in systems}

    @app.exception_handler(UnderstudyError)
    async def refused(_request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "the server failed to answer; its terminal shows why"}, 500)

    @app.get("/api/run")
    async def run() -> dict[str, Any]:
        names = {name: own.system for name, own in settings.deployments.items()}
        return {"run": settings.run, "systems": names, "inputs": len(settings.inputs), "calibrated": False, "curve": []}

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
        source = _source(await request.body())
        async with locks[name]:
            if await request.is_disconnected():  # the page requests another input by now
                return Response(status_code=499)
            return JSONResponse(await run_in_threadpool(answer_facts, systems[name], source, prompt=settings.prompt))

    @app.get("/page.css")
    async def style() -> Response:
        return Response(trusted_file("page.css"), media_type="text/css")

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def found_inputs(inputs: Sequence[Example], contains: str) -> dict[str, Any]:
    """The first inputs that contain a text in any case, by their indices, and how many there are."""
    wanted = contains.casefold()
    found = [index for index, one in enumerate(inputs) if wanted in one.source.casefold()]
    return {"found": len(found), "inputs": [(index, inputs[index].source[:200]) for index in found[:MOST_FOUND]]}


def input_facts(settings: PlaySettings, index: int) -> dict[str, Any]:
    """One test input with its references, and the recorded text of a teacher behind an API.

    Raises:
        DataError: if there is no such input.
    """
    if not 0 <= index < len(settings.inputs):
        raise DataError(f"there is no test input {index}, only 0 to {len(settings.inputs) - 1}")
    one = settings.inputs[index]
    facts: dict[str, Any] = {"source": one.source, "references": one.targets, "recorded": None}
    if settings.recorded is not None:
        text = settings.recorded[index]
        facts["recorded"] = {"text": text, **_items(one.source, text, settings.prompt)}
    return facts


@contextmanager
def play_server(
    settings: PlaySettings, *, host: str, port: int
) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
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
        listener, address = opened.enter_context(bound(host, port))
        example = settings.inputs[0].source
        systems = {
            name: open_system(opened.enter_context(open_deployment(own, device=settings.device)), example)
            for name, own in settings.deployments.items()
        }
        app = play_app(settings, systems, hosts=LOOPBACK if host in LOOPBACK else ("*",))
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
        yield server, listener, f"{address}/"


def _source(body: bytes) -> str:
    try:
        return _Question.model_validate_json(body).source
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"the request is not {{'source': 'a text'}}: {first['msg']}") from None


def _items(source: str, text: str, prompt: str) -> dict[str, Any]:
    return asdict(item_errors(Prediction("", source, (), text), prompt=prompt))
