"""The commands that show recipes, methods and finished runs. Heavy libraries are imported when they are needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import AllowCode, LogFormat, Overrides, Quiet, RunFolder
from understudy.demo import RECIPE


def show(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file (YAML); default: the demo.", show_default=False)
    ] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Print a checked recipe with every default filled in."""
    from understudy.config.read import read_recipe, to_yaml

    settings = read_recipe(recipe or RECIPE, override)
    from understudy.pipeline.recipe_files import check_metric_names

    check_metric_names(settings)
    typer.echo(to_yaml(settings), nl=False)


def methods(
    name: Annotated[str | None, typer.Argument(help="Explain this method.", show_default=False)] = None,
) -> None:
    """List the distillation methods, or explain one: its source and its settings."""
    from understudy.cli.methods import method_explained, methods_listed

    typer.echo(method_explained(name) if name else methods_listed(), nl=False)


def evaluate(
    folder: RunFolder,
    outputs: Annotated[
        Path | None,
        typer.Option(
            help="Outputs of another system for the split: JSONL, JSON, CSV with id and text, or plain lines."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score: dev or test.")] = "test",
    allow_code: AllowCode = False,
) -> None:
    """Score the systems of a run, and outputs of any other system, with the run's metrics."""
    from understudy.cli.printing import print_scores
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.inspect.compare import score_split

    with progress_for(sys.stderr, quiet=False) as progress:
        scores = score_split(folder, split=split, outputs=outputs, progress=progress, allow_code=allow_code)
    print_scores(scores)


def report(folder: RunFolder) -> None:
    """Write report.html and report.json of a finished run again."""
    from understudy.cli.printing import print_result
    from understudy.pipeline.delivery import guarded
    from understudy.pipeline.inspect.open import open_run
    from understudy.report.page import write_report

    opened = open_run(folder)
    with guarded(opened.folder):
        write_report(opened.facts, opened.folder)
    print_result(opened.folder, opened.facts)


def diagnose(
    folder: RunFolder,
    inputs: Annotated[int, typer.Option(help="Maximum number of dev inputs.")] = 200,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also measure the latency of the teacher with fewer layers.")
    ] = False,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Diagnose a finished run: exposure bias, teacher guidance on student texts, latency by number of layers."""
    from understudy.cli.printing import print_diagnostics
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.inspect.diagnose import diagnose as diagnose_run

    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        facts = diagnose_run(folder, inputs=inputs, pruned=prune, progress=progress, allow_code=allow_code)
    print_diagnostics(folder, facts)


def pool_show(
    folder: RunFolder,
    limit: Annotated[int, typer.Option(help="Number of texts to show.", min=0)] = 10,
    search: Annotated[
        str | None, typer.Option(help="Show only texts whose text or source contains this string.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    student: Annotated[
        bool, typer.Option("--student", help="Show the student's texts instead of the teacher's.")
    ] = False,
) -> None:
    """Show pseudo-targets with their sources, log-probability, duplicates, length and origin."""
    from understudy.cli.printing import print_pool
    from understudy.pipeline.inspect.open import open_pool
    from understudy.pool.show import show_rows

    opened, sources, eos_id = open_pool(folder, student=student)
    print_pool(opened.statistics(eos_id=eos_id), show_rows(opened, sources, limit=limit, seed=seed, search=search))
