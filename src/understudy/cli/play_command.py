"""The command play. Heavy libraries are imported when it runs."""

from contextlib import suppress
from typing import Annotated

import typer

from understudy.cli.options import RunFolder
from understudy.errors import ConfigError


def play(
    folder: RunFolder,
    *,
    host: Annotated[str, typer.Option(help="Address of the page; 0.0.0.0 is every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
) -> None:
    """Open a page on which a run's student and teacher answer the same input, with the decoding that was evaluated."""
    try:
        from understudy.serving.play import play_server
    except ModuleNotFoundError as error:
        raise ConfigError(f"play needs {error.name}, which is not installed; install understudy[play]") from None
    from understudy.pipeline.inspect.play import play_settings

    with play_server(play_settings(folder), host=host, port=port) as (server, listener, url):
        typer.echo(f"student and teacher of {folder} at {url} (Ctrl-C ends it)", err=True)
        with suppress(KeyboardInterrupt):  # the library raises the signal that ended it once more
            server.run(sockets=[listener])
