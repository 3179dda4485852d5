"""The command serve. Heavy libraries are imported when it runs."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import RunFolder, check_variable
from understudy.cli.record_commands import AllowRedaction, KeepDays, KeepTextsFolder, Redaction, kept_texts
from understudy.cli.serve_upstream import (
    AUTO,
    QUALITY,
    SHARE,
    DeferOptions,
    ShadowOptions,
    TeacherOptions,
    shown,
    upstream_settings,
)
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
    defer: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Endpoint that answers where the student is not sure; teacher: that of the run."
        ),
    ] = None,
    threshold: Annotated[
        str, typer.Option(help="Probability below which the student is not sure; auto: from dev, by --quality.")
    ] = AUTO,
    quality: Annotated[float, typer.Option(min=0.0, help="Share of the teacher's score to reach together.")] = QUALITY,
    shadow: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Endpoint that answers while the student is compared with it; as --defer."),
    ] = None,
    shadow_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of requests that both answer.")] = SHARE,
    shadow_answers: Annotated[
        str, typer.Option(help="Whose answers clients get: teacher before the switch, student after it.")
    ] = "teacher",
    shadow_out: Annotated[
        Path | None, typer.Option(help="File for the agreement of both, written at the end.", show_default=False)
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="Model of the endpoint; default: the run's.", show_default=False)
    ] = None,
    teacher_key: Annotated[
        str | None,
        typer.Option(help="Environment variable with the endpoint's key; default: the run's, or OPENAI_API_KEY."),
    ] = None,
    teacher_set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Another setting of the endpoint, such as price.input=0.15."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Most that the endpoint may cost, in the price's currency.", show_default=False)
    ] = None,
    budget_requests: Annotated[
        int | None, typer.Option(min=0, help="Most requests to the endpoint.", show_default=False)
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="File in which what was spent is kept for the next start.", show_default=False),
    ] = None,
    alarm: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Distance of recent requests from dev that is a warning.")
    ] = 0.2,
    keep_texts: KeepTextsFolder = None,
    redact: Redaction = None,
    keep_days: KeepDays = None,
    allow_code: AllowRedaction = False,
) -> None:
    """Serve a run's student as an OpenAI-compatible API, with the decoding that was evaluated."""
    _refuse_missing(token_variable)
    from understudy.pipeline.context import default_device
    from understudy.pipeline.inspect.deploy import deployment, dev_texts, request_form
    from understudy.serving.app import ServerSettings
    from understudy.serving.limits import server_limits
    from understudy.serving.server import serve_until_signal

    found = deployment(folder, system)
    upstream = upstream_settings(
        folder,
        system,
        DeferOptions(defer, threshold, quality),
        ShadowOptions(shadow, shadow_share, shadow_answers, shadow_out),
        TeacherOptions(teacher_model, teacher_key, teacher_set or (), budget, budget_requests, ledger),
    )
    settings = ServerSettings(
        deployment=found,
        form=request_form(folder, ignores_system=ignore_system),
        names=(found.run, *(alias or ())),
        limits=server_limits(limit or ()),
        device=default_device(),
        engines=engines,
        token_variable=token_variable,
        log_texts=log_texts,
        upstream=upstream,
        dev=dev_texts(folder, system),
        alarm=alarm,
        keep=kept_texts(keep_texts, redact, keep_days, allow_code=allow_code),
    )

    def started(url: str) -> None:
        typer.echo(f"{found.system} of {folder} at {url}, as model {', '.join(settings.names)}", err=True)
        if upstream is not None:
            typer.echo(shown(upstream), err=True)

    with suppress(KeyboardInterrupt):  # the library raises the signal that ended it once more
        serve_until_signal(settings, host=host, port=port, workers=workers, started=started)
    typer.echo("stopped: every accepted request was answered", err=True)


def _refuse_missing(token_variable: str | None) -> None:
    """Checks the token and the libraries of a server.

    Raises:
        ConfigError: if one is missing.
    """
    check_variable("--token-variable", token_variable, "STUDENT_TOKEN")
    if token_variable is not None and not os.environ.get(token_variable):
        raise ConfigError(f"--token-variable is {token_variable}, which is not set; export it with the token")
    try:
        import understudy.serving.server  # noqa: F401 - it imports them all
    except ModuleNotFoundError as error:
        raise ConfigError(f"serve needs {error.name}, which is not installed; install understudy[serve]") from None
