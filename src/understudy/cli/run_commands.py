"""The commands that make something: demo, run, study, collect. Heavy libraries are imported when they are needed."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.characters import visible
from understudy.cli.options import AllowCode, LogFormat, MaxMinutes, Out, Overrides, Quiet, RecipeFile, checked_recipe
from understudy.cli.signals import stop_after
from understudy.demo import RECIPE
from understudy.errors import ConfigError
from understudy.ranks import Ranks, ranks_of_environment

if TYPE_CHECKING:
    from understudy.config.recipe import Recipe
    from understudy.store.store import Executor


def demo(out: Out = Path("runs"), override: Overrides = [], quiet: Quiet = False, log_format: LogFormat = None) -> None:  # noqa: B006 - typer copies it
    """Distil a student on the embedded weather-bulletin task: offline, in minutes on two cores."""
    _run(RECIPE, override, out, quiet=quiet, log_format=log_format)


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    executor: Annotated[str, typer.Option(help="Where stages run: local, processes or ray.")] = "local",
    workers: Annotated[
        int, typer.Option(min=1, help="Stages that run at the same time: with processes, or per machine with ray.")
    ] = 2,
    max_minutes: MaxMinutes = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the stages into the run's folder, so that it can be moved by itself.")
    ] = False,
    allow_code: AllowCode = False,
    strict: Annotated[bool, typer.Option("--strict", help="Make warnings before training errors.")] = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Run a recipe from the data to the report; finished stages are reused, so the same command resumes a run."""
    if max_minutes is not None:
        stop_after(max_minutes)
    _run(
        recipe,
        override,
        out,
        quiet=quiet,
        log_format=log_format,
        executor=executor,
        workers=workers,
        allow_code=allow_code,
        copy=copy,
        strict=strict,
    )


def study(
    file: Annotated[Path, typer.Argument(help="Study file (YAML).", show_default=False)],
    out: Out = Path("runs"),
    processes: Annotated[
        int, typer.Option(min=1, help="Number of worker processes; the cores are divided among them.")
    ] = 1,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Where stages run: local, processes, or ray with so many processes per machine. "
            "Default: processes if there are several.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[list[str], typer.Option(metavar="TASK", help="Run only this task; can be repeated.")] = [],  # noqa: B006 - typer copies it
    method: Annotated[list[str], typer.Option(metavar="ROW", help="Run only this row; can be repeated.")] = [],  # noqa: B006 - typer copies it
    seed: Annotated[list[int], typer.Option(help="Run only this seed; can be repeated.")] = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Run methods x seeds x tasks over one cache and print the results table; several can run at the same time."""
    from understudy.config.study import read_study

    settings = read_study(file)
    from understudy.cli.printing import print_results_table
    from understudy.cli.progress_bars import progress_for
    from understudy.executors import executor_named
    from understudy.study.run_study import Choice, run_study

    choice = Choice(only, method, seed)
    chosen = executor_named(executor or ("processes" if processes > 1 else "local"), processes)
    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        done = run_study(settings, out=out, progress=progress, choice=choice, executor=chosen, allow_code=allow_code)
    print_results_table(done.page, done.results_table)
    for failure in done.failures:
        typer.echo(f"understudy: {visible(str(failure))}", err=True)
    if done.failures:
        raise typer.Exit(1)


def collect(
    inputs: Annotated[Path, typer.Argument(help="Inputs: JSONL, CSV, TSV or Parquet.", show_default=False)],
    endpoint: Annotated[
        Path, typer.Option(help="Endpoint settings (model, prompt, price) as a YAML file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the responses.")] = Path("responses"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Collect texts for inputs from an OpenAI-compatible API; responses are cached, so none is paid for twice."""
    from understudy.config.read import read_endpoint

    settings = read_endpoint(endpoint, override)
    from understudy.api_teacher.collect import collect as collect_texts
    from understudy.api_teacher.collect import refuse_unanswered
    from understudy.cli.printing import print_collected
    from understudy.cli.progress_bars import progress_for

    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        result = collect_texts(inputs, settings, out=out, progress=progress)
    print_collected(result)
    refuse_unanswered(result, settings)


def _run(
    recipe: Path,
    override: list[str],
    out: Path,
    *,
    quiet: bool,
    log_format: str | None,
    executor: str = "local",
    workers: int = 1,
    **options: bool,
) -> None:
    ranks = ranks_of_environment()
    if not ranks.is_first:
        _make_as_rank(ranks, out, allow_code=options.get("allow_code", False))
        return
    from understudy.executors import executor_named

    settings, chosen = checked_recipe(recipe, override), executor_named(executor, workers)
    if ranks.size > 1:
        _refuse_on_ranks(settings, executor, ranks)
    from understudy.cli.printing import print_result
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.run import run as run_recipe

    with ExitStack() as opened:
        if ranks.size > 1:
            log_format = log_format or "text"  # bars would be drawn over the lines of torchrun and of other ranks
            chosen = opened.enter_context(_over_ranks(ranks))
        progress = opened.enter_context(progress_for(sys.stderr, quiet=quiet, log_format=log_format))
        result = run_recipe(settings, out=out, progress=progress, executor=chosen, **options)
    print_result(result.folder, result.facts)


def _refuse_on_ranks(recipe: "Recipe", executor: str, ranks: Ranks) -> None:
    """Refuses what several ranks cannot do.

    Raises:
        ConfigError: for another executor, and for an engine that would use the ranks as its own.
    """
    if executor != "local":
        raise ConfigError(
            f"--executor {executor} cannot be used with {ranks.size} ranks, which share the stages; leave --executor "
            "out, or start the command without torchrun"
        )
    if recipe.engine == "vllm":
        raise ConfigError(
            f"engine vllm cannot be used with {ranks.size} ranks: it would take them for parts of its own model; "
            "leave engine out, or start the command without torchrun"
        )


@contextmanager
def _over_ranks(ranks: Ranks) -> "Iterator[Executor]":
    """The executor of rank 0; the other ranks end with it."""
    from understudy.executors._ranks import OverRanks
    from understudy.pipeline.ranks import connected_ranks

    with connected_ranks(ranks) as messages:
        executor = OverRanks(ranks, messages)
        yield executor
        executor.close()


def _make_as_rank(ranks: Ranks, out: Path, *, allow_code: bool) -> None:
    """Makes what rank 0 sends; the recipe is read there."""
    from understudy.executors._memory import return_freed_memory
    from understudy.executors._ranks import leave_signals_to_first, make_what_is_sent

    leave_signals_to_first()  # before the libraries are loaded, which takes seconds
    from understudy.pipeline.context import run_context
    from understudy.pipeline.ranks import connected_ranks
    from understudy.progress import SILENT

    return_freed_memory()
    with connected_ranks(ranks) as messages:
        make_what_is_sent(ranks, messages, run_context(out, SILENT, allow_code=allow_code))
