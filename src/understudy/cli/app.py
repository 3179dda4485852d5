"""The commands. Everything heavy is imported by the command that needs it, so that --help answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.demo import RECIPE
from understudy.errors import UnderstudyError

app = typer.Typer(
    help="Turn an expensive text generator into a small, fast model for one task, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
pool_app = typer.Typer(help="Look at pseudo-targets.", no_args_is_help=True)
app.add_typer(pool_app, name="pool")

INTERRUPTED = 130
"""What a shell expects of a program that control-C ended."""

RecipeFile = Annotated[Path, typer.Argument(help="A recipe: one YAML file.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="A finished run's folder, such as runs/demo.", show_default=False)]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be given several times.")
]
Out = Annotated[Path, typer.Option(help="Where runs and their stages go.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors are still told.")]


@app.command()
def demo(out: Out = Path("runs"), override: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006 - typer copies it
    """Teach a student the embedded weather-bulletin task: offline, in minutes on two cores."""
    _run(RECIPE, override, out, quiet=quiet)


@app.command()
def run(recipe: RecipeFile, out: Out = Path("runs"), override: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006 - typer copies it
    """Do what a recipe asks, from the data to the report; what was done before is not done again."""
    _run(recipe, override, out, quiet=quiet)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A study: one YAML file.", show_default=False)],
    out: Out = Path("runs"),
    processes: Annotated[int, typer.Option(min=1, help="How many work on it, each on one thread.")] = 1,
    only: Annotated[list[str], typer.Option(metavar="TASK", help="Only this task; may be given several times.")] = [],  # noqa: B006 - typer copies it
    method: Annotated[list[str], typer.Option(metavar="ROW", help="Only this row; may be given several times.")] = [],  # noqa: B006 - typer copies it
    seed: Annotated[list[int], typer.Option(help="Only this seed; may be given several times.")] = [],  # noqa: B006 - typer copies it
    quiet: Quiet = False,
) -> None:
    """Run methods x seeds x tasks over one store, and draw the results_table; may be started several times at once."""
    from understudy.cli.bars import progress_for
    from understudy.cli.words import print_results_table
    from understudy.config.study import read_study

    asked = read_study(file)
    from understudy.study.processes import run_processes
    from understudy.study.run_study import Choice, run_study

    choice = Choice(only, method, seed)
    with progress_for(sys.stderr, quiet=quiet) as progress:
        if processes > 1:
            done = run_processes(file, asked, out=out, processes=processes, progress=progress, choice=choice)
        else:
            done = run_study(asked, out=out, progress=progress, choice=choice)
    print_results_table(done.page, done.results_table)
    for failure in done.failures:
        typer.echo(f"understudy: {failure}", err=True)
    if done.failures:
        raise typer.Exit(1)


@app.command()
def show(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe; without one, the demo's.", show_default=False)
    ] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    method: Annotated[str | None, typer.Option(help="Explain a method instead of printing a recipe.")] = None,
) -> None:
    """Print a checked recipe with every default filled in, or what a method means."""
    from understudy.cli.words import explained
    from understudy.config.read import read_recipe, to_yaml

    typer.echo(explained(method) if method else to_yaml(read_recipe(recipe or RECIPE, override)), nl=False)


@app.command()
def evaluate(
    folder: RunFolder,
    outputs: Annotated[
        Path | None,
        typer.Option(help="TokenArrays another system wrote for the split: JSONL with id and text, or lines."),
    ] = None,
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
) -> None:
    """Score a run's systems, and any other system's outputs, by the run's metrics."""
    from understudy.cli.words import print_scores
    from understudy.pipeline.compare import score_split

    print_scores(score_split(folder, split=split, outputs=outputs))


@app.command()
def collect(
    inputs: Annotated[Path, typer.Argument(help="Inputs: JSONL, CSV, TSV or Parquet.", show_default=False)],
    endpoint: Annotated[
        Path, typer.Option(help="Endpoint settings (model, prompt, price) as a YAML file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the responses.")] = Path("responses"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    quiet: Quiet = False,
) -> None:
    """Collect texts for inputs from an OpenAI-compatible API; responses are cached, so none is paid for twice."""
    from understudy.cli.bars import progress_for
    from understudy.cli.words import print_collected
    from understudy.config.read import read_endpoint

    settings = read_endpoint(endpoint, override)
    from understudy.api_teacher.collect import collect as collect_texts
    from understudy.api_teacher.collect import refuse_unanswered

    with progress_for(sys.stderr, quiet=quiet) as progress:
        result = collect_texts(inputs, settings, out=out, progress=progress)
    print_collected(result)
    refuse_unanswered(result, settings)


@app.command()
def report(folder: RunFolder) -> None:
    """Write a finished run's report.html and report.json again."""
    from understudy.cli.words import print_result
    from understudy.pipeline.open import open_run
    from understudy.report.page import write_report

    opened = open_run(folder)
    write_report(opened.facts, folder)
    print_result(opened.folder, opened.facts)


@app.command()
def diagnose(
    folder: RunFolder,
    inputs: Annotated[int, typer.Option(help="At most so many dev inputs.")] = 200,
    prune: Annotated[bool, typer.Option("--prune", help="Also time the teacher with fewer layers.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look into a finished run: exposure bias, how well the teacher guides the students, what layers cost."""
    from understudy.cli.bars import progress_for
    from understudy.cli.words import print_diagnostics
    from understudy.pipeline.diagnose import diagnose as look_into

    with progress_for(sys.stderr, quiet=quiet) as progress:
        facts = look_into(folder, inputs=inputs, pruned=prune, progress=progress)
    print_diagnostics(folder, facts)


@pool_app.command("show")
def pool_show(
    folder: RunFolder,
    limit: Annotated[int, typer.Option(help="How many texts.", min=0)] = 10,
    search: Annotated[str | None, typer.Option(help="Only texts or sources that contain this.")] = None,
    seed: Annotated[int, typer.Option(help="Draws which ones.")] = 0,
    student: Annotated[bool, typer.Option("--student", help="The student's texts instead of the teacher's.")] = False,
) -> None:
    """Show pseudo-targets beside their sources: score, duplicates, length, where each came from."""
    from understudy.cli.words import print_pool
    from understudy.pipeline.open import open_pool
    from understudy.pool.show import show_rows

    opened, sources, eos_id = open_pool(folder, student=student)
    print_pool(opened.statistics(eos_id=eos_id), show_rows(opened, sources, limit=limit, seed=seed, search=search))


def _run(recipe: Path, override: list[str], out: Path, *, quiet: bool) -> None:
    from understudy.cli.bars import progress_for
    from understudy.cli.words import print_result
    from understudy.config.read import read_recipe

    asked = read_recipe(recipe, override)
    from understudy.pipeline.run import run as do

    with progress_for(sys.stderr, quiet=quiet) as progress:
        done = do(asked, out=out, progress=progress)
    print_result(done.folder, done.facts)


def main() -> None:
    """The console script: runs a command; says what the user can mend in one sentence, with exit code 1."""
    # oneDNN keeps compiled kernels for a thousand shapes, and texts of every length bring new ones: a training grew
    # from 2.5 to 4.1 GB in half an hour. With 8 it stays level, at the same speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    try:
        app()
    except UnderstudyError as error:
        typer.echo(f"understudy: {error}", err=True)
        sys.exit(1)
    except SystemExit as left:  # typer makes one of control-C
        if left.code == INTERRUPTED:
            typer.echo("understudy: stopped; give the same command again to go on", err=True)
        raise
