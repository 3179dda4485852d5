"""A real server in a thread, on a free port."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import httpx2
import openai
import uvicorn

from understudy.pipeline.inspect.deploy import deployment, dev_texts, request_form
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.serving.app import ServerSettings, app_of
from understudy.serving.deployment import Answer, Answering, TextSettings, open_deployment
from understudy.serving.limits import ServerLimits
from understudy.serving.records import KeepTexts
from understudy.serving.routing import UpstreamSettings


class Held(Answering):
    """An engine that waits before each batch until it is released, and counts the sources of each."""

    released: Event
    batches: list[int]
    settings: list[TextSettings]

    def texts(
        self, rows: Sequence[Sequence[int]], settings: TextSettings, progress: ProgressCallback = NO_PROGRESS
    ) -> list[tuple[Answer, ...]]:
        """See `Answering`."""
        self.batches.append(len(rows))
        self.settings.append(settings)
        self.released.wait()
        return super().texts(rows, settings, progress)


@dataclass(frozen=True)
class Served:
    """A server that is running."""

    url: str
    engine: Held
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))

    @property
    def client(self) -> openai.OpenAI:
        """The official client, as an application makes it."""
        return openai.OpenAI(base_url=self.url, api_key="none", max_retries=0)

    def chat(self, source: str, **parameters: object) -> httpx2.Response:
        """The response to a bare request."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": source}], **parameters}
        return self.http.post(f"{self.url}/chat/completions", json=body)

    def metric(self, line: str) -> float:
        """The value of a line of /metrics; 0 if it is not there."""
        page = self.http.get(f"{self.url.removesuffix('/v1')}/metrics").text
        return next((float(one.split()[-1]) for one in page.splitlines() if one.startswith(f"{line} ")), 0.0)


@contextmanager
def serving(
    folder: Path,
    limits: ServerLimits | None = None,
    *,
    token_variable: str | None = None,
    released: bool = True,
    log_texts: bool = False,
    upstream: UpstreamSettings | None = None,
    keep: KeepTexts | None = None,
) -> Iterator[Served]:
    """Serves the student of a run within the context."""
    found = deployment(folder)
    settings = ServerSettings(
        found,
        request_form(folder),
        ("tiny", "gpt-4o"),
        limits or ServerLimits(),
        token_variable=token_variable,
        log_texts=log_texts,
        upstream=upstream,
        dev=dev_texts(folder),
        keep=keep,
    )
    opened = ExitStack()
    engine = opened.enter_context(open_deployment(found, device="cpu", threads=1))
    engine.__class__ = Held
    assert isinstance(engine, Held)
    engine.released, engine.batches, engine.settings = Event(), [], []
    if released:
        engine.released.set()
    app = app_of(settings, [engine], opened)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", engine)
            with served.http:
                yield served
        finally:
            engine.released.set()
            server.should_exit = True
            thread.join()
