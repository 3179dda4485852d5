"""The command serve. Heavy libraries are imported when it runs."""

import os
from contextlib import suppress
from typing import Annotated

import typer

from understudy.cli.options import RunFolder
from understudy.cli.record_commands import AllowRedaction, KeepDays, KeepTextsFolder, Redaction, kept_texts
from understudy.errors import ConfigError


def serve(  # noqa: PLR0913 - the options of a command
    folder: RunFolder,
    *,
    system: Annotated[
        str, typer.Option(help="student (the distilled one), teacher, or another system of the report.")
    ] = "student",
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 is every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    alias: Annotated[
        list[str] | None, typer.Option(help="Another name of the model, such as the teacher's; can be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    engines: Annotated[int, typer.Option(min=1, help="Copies of the network in each process.")] = 1,
    token_variable: Annotated[
        str | None,
        typer.Option(help="Environment variable with the bearer token that requests must send.", show_default=False),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="body_bytes, queue, timeout_s, batch_tokens or batch_wait_ms; can be repeated."
        ),
    ] = None,
    ignore_system: Annotated[
        bool, typer.Option("--ignore-system", help="Leave out system messages that the run does not know.")
    ] = False,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Write sources and outputs into the log.")] = False,
    keep_texts: KeepTextsFolder = None,
    redact: Redaction = None,
    keep_days: KeepDays = None,
    allow_code: AllowRedaction = False,
) -> None:
    """Serve a run's student as an OpenAI-compatible API, with the decoding that was evaluated."""
    if token_variable is not None and not os.environ.get(token_variable):
        raise ConfigError(f"--token-variable is {token_variable}, which is not set; export it with the token")
    try:
        from understudy.serving.app import ServerSettings
        from understudy.serving.server import serve_until_signal
    except ModuleNotFoundError as error:
        raise ConfigError(f"serve needs {error.name}, which is not installed; install understudy[serve]") from None
    from understudy.pipeline.context import default_device
    from understudy.pipeline.inspect.deploy import deployment, request_form
    from understudy.serving.limits import server_limits

    found = deployment(folder, system)
    settings = ServerSettings(
        deployment=found,
        form=request_form(folder, ignores_system=ignore_system),
        names=(found.run, *(alias or ())),
        limits=server_limits(limit or ()),
        device=default_device(),
        engines=engines,
        token_variable=token_variable,
        log_texts=log_texts,
        keep=kept_texts(keep_texts, redact, keep_days, allow_code=allow_code),
    )

    def started(url: str) -> None:
        typer.echo(f"{found.system} of {folder} at {url}, as model {', '.join(settings.names)}", err=True)

    with suppress(KeyboardInterrupt):  # the library raises the signal that ended it once more
        serve_until_signal(settings, host=host, port=port, workers=workers, started=started)
    typer.echo("stopped: every accepted request was answered", err=True)
