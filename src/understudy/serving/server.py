"""The processes of a server: one, or several workers on one socket, of which a dead one is replaced.

A signal ends them after everything that was accepted is answered.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from understudy.generation import converted_engine
from understudy.generation.engine import allowed_threads
from understudy.serving.app import ServerSettings, create_app
from understudy.serving.http_process import bound_socket, log_lines
from understudy.serving.metrics import FOLDER_VARIABLE

START_S = 120
"""Most seconds in which a worker starts: it loads libraries and network. One that needs longer counts as dead."""


def serve_until_signal(
    settings: ServerSettings, *, host: str, port: int, workers: int = 1, started: Callable[[str], None]
) -> None:
    """Serves until a signal ends it.

    Args:
        settings: of each worker.
        host: address or name of the interface.
        port: 0 takes a free one.
        workers: processes, each with its own engines.
        started: called with the URL once connections are accepted; they wait until a worker is ready.

    Raises:
        ConfigError: if the address cannot be used.
        ModelError: if the network cannot be loaded.
        GenerationError: if its engine cannot open it.
    """
    with bound_socket(host, port) as (listener, address):
        if settings.threads is None and workers * settings.engines > 1:
            settings = replace(settings, threads=max(1, allowed_threads() // (workers * settings.engines)))
        config = uvicorn.Config(
            partial(logged_app, settings),
            factory=True,
            workers=workers,
            http="h11",  # httptools, used where installed, is not faster here and sets no limit to headers
            access_log=False,
            log_level="warning",
            timeout_worker_healthcheck=START_S,
        )
        started(f"{address}/v1")
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
            return
        own, upstream = settings.deployment, settings.upstream
        # Workers that fail to start are started again, so what can fail is tried before.
        converted_engine(own.engine, own.checkpoint, own.conversions, own.decoding)
        with tempfile.TemporaryDirectory(prefix="understudy-metrics-") as folder:
            os.environ[FOLDER_VARIABLE] = folder
            if upstream is not None:
                config.app = partial(logged_app, replace(settings, upstream=upstream.shared(Path(folder))))
            Multiprocess(config, sockets=[listener]).run()


def logged_app(settings: ServerSettings) -> FastAPI:
    """The application of a process, with its logs as lines on standard error."""
    log_lines()
    return create_app(settings)
