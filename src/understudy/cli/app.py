"""The command line: all commands by name, and how an error ends them.

The modules of the commands load no heavy library before a command runs, so that --help and refusals are fast.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from understudy.characters import visible
from understudy.cli.compare_command import compare
from understudy.cli.doctor_command import doctor
from understudy.cli.init import init
from understudy.cli.plan_commands import check, plan
from understudy.cli.play_command import play
from understudy.cli.read_commands import diagnose, evaluate, methods, pool_show, report, show
from understudy.cli.record_commands import record, records_app
from understudy.cli.run_commands import collect, demo, run, study
from understudy.cli.serve_command import serve
from understudy.cli.serving_commands import export, generate
from understudy.cli.signals import INTERRUPTED, ending, stopping_signals
from understudy.cli.store import store_app
from understudy.errors import ConfigError, UnderstudyError
from understudy.ranks import ranks_of_environment

NOTHING_TO_RESUME = {"init", "show", "methods", "plan", "check", "compare", "doctor"}
"""Commands that take seconds and keep nothing that another attempt would use."""
ON_RANKS = ("run", "demo")
"""Commands that `torchrun` may start in several processes."""
RENAMED_COMMANDS = {"ask": "collect"}

app = typer.Typer(
    help="Turn an expensive text generator into a small, fast model for one task, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (
    demo,
    init,
    check,
    plan,
    run,
    study,
    show,
    methods,
    evaluate,
    compare,
    generate,
    export,
    serve,
    play,
    record,
    collect,
    report,
    diagnose,
    doctor,
):
    app.command()(_command)


def _refuse_renamed(context: typer.Context) -> None:
    new = RENAMED_COMMANDS[str(context.info_name)]
    raise ConfigError(f"the command {context.info_name!r} was renamed; use understudy {new}")


for _name in RENAMED_COMMANDS:
    _anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(_name, hidden=True, add_help_option=False, context_settings=_anything)(_refuse_renamed)
pool_app = typer.Typer(help="Inspect pseudo-targets.", no_args_is_help=True)
pool_app.command("show")(pool_show)
app.add_typer(pool_app, name="pool")
app.add_typer(store_app, name="store")
app.add_typer(records_app, name="records")


def _version(*, requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"understudy {version('understudy')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback ends the command
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Turn an expensive text generator into a small, fast model for one task, and prove it."""
    ranks = ranks_of_environment()
    if ranks.size > 1 and context.invoked_subcommand not in ON_RANKS:
        if not ranks.is_first:
            raise typer.Exit  # an exit code of 1 would make torchrun end rank 0 before it has said why
        raise ConfigError(
            f"torchrun started understudy {context.invoked_subcommand} {ranks.size} times, and only "
            f"{' and '.join(ON_RANKS)} can share their work; start it without torchrun"
        )


def _run_app() -> None:
    """Runs the command of the arguments; what is wrong with them is said by rank 0 alone.

    The other ranks end with 0: another exit code would make torchrun end rank 0 before it has said it.
    """
    if ranks_of_environment().is_first:
        app()
        return
    code: int | None = 0
    with suppress(typer.BadParameter.__mro__[1]):  # UsageError, which typer does not export
        code = app(standalone_mode=False)
    sys.exit(code)


def main() -> None:
    """Runs the command line. An error that the user can fix is printed as a message, with exit code 1."""
    # oneDNN caches compiled kernels for 1,024 shapes, and texts of every length add new ones: the memory of a training
    # grew from 2.5 to 4.1 GB in half an hour. With 8 it stays constant, at the same speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    # Where no cache folder can be written, it warns that it uses a temporary one, which changes nothing for the report.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with stopping_signals():
        try:
            _run_app()
        except UnderstudyError as error:
            typer.echo(f"understudy: {visible(str(error))}", err=True)
            sys.exit(1)
        except (SystemExit, KeyboardInterrupt) as stop:  # typer makes the first of the second, once it has parsed
            if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
                raise
            code, sentence = ending(resumes=not set(sys.argv[1:2]) & NOTHING_TO_RESUME)
            typer.echo(f"understudy: {sentence}", err=True)
            sys.exit(code)
