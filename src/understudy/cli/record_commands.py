"""The command record, the options that keep texts, and the commands of what is kept: ls, delete."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.options import folder_named
from understudy.errors import ConfigError

if TYPE_CHECKING:
    from understudy.serving.records import KeepTexts

TEXTS_HELP = "Folder in which requests and answers are kept, as JSON lines (docs/record.md)."
KeepTextsFolder = Annotated[
    Path | None,
    typer.Option(
        "--keep-texts", parser=folder_named, metavar="DIR", help=f"{TEXTS_HELP} Default: nowhere.", show_default=False
    ),
]
Redaction = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Your function that gets each text before it is kept and returns what is kept; or file.py:function.",
        show_default=False,
    ),
]
KeepDays = Annotated[
    int | None, typer.Option(min=1, help="Delete the records of earlier days (UTC). Default: none.", show_default=False)
]
AllowRedaction = Annotated[bool, typer.Option("--allow-code", help="Import the function that --redact names.")]
Records = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of --keep-texts.", show_default=False)]
records_app = typer.Typer(help="Count and delete what --keep-texts has kept.", no_args_is_help=True)


def record(
    *,
    upstream: Annotated[
        str, typer.Option(metavar="URL", help="The base URL that your application uses now.", show_default=False)
    ],
    keep_texts: Annotated[
        Path, typer.Option("--keep-texts", parser=folder_named, metavar="DIR", help=TEXTS_HELP, show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 is every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8001,
    redact: Redaction = None,
    keep_days: KeepDays = None,
    allow_code: AllowRedaction = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="body_bytes, record_bytes, in_flight or timeout_s; can be repeated."),
    ] = None,
) -> None:
    """Pass requests on to an OpenAI-compatible API and keep their texts, to distil a student from them."""
    try:
        from understudy.serving.record_proxy import ProxySettings, record_until_signal, upstream_url
    except ModuleNotFoundError as error:
        raise ConfigError(f"record needs {error.name}, which is not installed; install understudy[serve]") from None
    from understudy.serving.limits import ProxyLimits, limits_after

    keep = prepared_texts(keep_texts, redact, keep_days, allow_code=allow_code)
    settings = ProxySettings(upstream_url(upstream), keep, limits_after(ProxyLimits(), limit or ()))

    def started(url: str) -> None:
        typer.echo(f"{url} passes requests on to {upstream} and keeps their texts in {keep_texts}", err=True)

    with suppress(KeyboardInterrupt):  # the library raises the signal that ended it once more
        record_until_signal(settings, host=host, port=port, started=started)
    typer.echo("stopped: every accepted request was passed on and recorded", err=True)


def kept_texts(folder: Path | None, redact: str | None, days: int | None, *, allow_code: bool) -> "KeepTexts | None":
    """What the options say of keeping texts; None if they are not kept.

    Raises:
        ConfigError: for options without a folder, or a function that cannot be loaded.
        StoreError: if the folder cannot be used.
    """
    if folder is None:
        if given := [name for name, value in {"--redact": redact, "--keep-days": days}.items() if value is not None]:
            raise ConfigError(f"{' and '.join(given)} is about texts that are kept; add --keep-texts DIR")
        return None
    return prepared_texts(folder, redact, days, allow_code=allow_code)


def prepared_texts(folder: Path, redact: str | None, days: int | None, *, allow_code: bool) -> "KeepTexts":
    """What the options say, after everything that can be refused."""
    from understudy.serving.records import KeepTexts, prepared

    keep = KeepTexts(folder.absolute(), redact, allow_code, days)
    prepared(keep)  # workers that fail to start would be started again
    return keep


@records_app.command("ls")
def list_records(folder: Records) -> None:
    """Count the records of each day by who answered."""
    from understudy.cli.store import size
    from understudy.serving.record_files import record_files, stored_lines

    days: dict[str, Counter[str]] = {}
    files = record_files(folder)
    for path in files:
        day = days.setdefault(path.name[8:18], Counter())
        for line in stored_lines(path):
            if line.values is None:
                day["truncated lines"] += 1
            else:
                day[f"by the {line.values.get('answered_by')}" if line.is_record else "repetitions"] += 1
    for name, day in days.items():
        typer.echo(f"{name}: {', '.join(f'{count} {what}' for what, count in sorted(day.items())) or 'nothing'}")
    total = sum(count for day in days.values() for what, count in day.items() if what.startswith("by "))
    typer.echo(f"{total} records, {size(sum(path.stat().st_size for path in files))} in {len(files)} files of {folder}")


@records_app.command("delete")
def delete_requests(
    folder: Records, ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests.")]
) -> None:
    """Delete the texts of requests by their ids, and all records of equal texts."""
    from understudy.serving.record_files import delete_records

    gone = delete_records(folder, ids)
    typer.echo(f"deleted {gone.records} records and {gone.repetitions} repetitions of them from {folder}")
