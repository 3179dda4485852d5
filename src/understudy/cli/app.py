"""The commands. Each imports the heavy libraries it needs when it runs, so that --help is fast."""

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
pool_app = typer.Typer(help="Inspect pseudo-targets.", no_args_is_help=True)
app.add_typer(pool_app, name="pool")

INTERRUPTED = 130
"""Exit code that shells expect after control-C."""

RecipeFile = Annotated[Path, typer.Argument(help="Recipe file (YAML).", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run, such as runs/demo.", show_default=False)]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the file; can be repeated.")
]
Out = Annotated[Path, typer.Option(help="Folder for runs and the stage cache.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Import metrics, objectives and checkers that the recipe names as code.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only results and errors.")]


@app.command()
def demo(out: Out = Path("runs"), override: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006 - typer copies it
    """Distil a student on the embedded weather-bulletin task: offline, in minutes on two cores."""
    _run(RECIPE, override, out, quiet=quiet)


@app.command()
def run(
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    executor: Annotated[str, typer.Option(help="Where stages run: local or processes.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Stages that run at the same time, with processes.")] = 2,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Run a recipe from the data to the report; finished stages are reused, so the same command resumes a run."""
    _run(recipe, override, out, quiet=quiet, executor=executor, workers=workers, allow_code=allow_code)


@app.command()
def check(
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Check a recipe, its data and its models before anything is trained; exit code 1 if something is wrong."""
    from understudy.cli.plan_table import print_findings
    from understudy.cli.progress_bars import progress_for
    from understudy.config.read import read_recipe

    settings = read_recipe(recipe, override)
    from understudy.pipeline.preflight import check as check_recipe

    with progress_for(sys.stderr, quiet=quiet) as progress:
        findings = check_recipe(settings, out=out, progress=progress, allow_code=allow_code)
    print_findings(findings)
    if any(one.severity == "error" for one in findings):
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Plan a run: steps, minutes, memory, disk and money of each stage; no weights are loaded, nothing is sent."""
    from understudy.cli.plan_table import print_plan
    from understudy.cli.progress_bars import progress_for
    from understudy.config.read import read_recipe

    settings = read_recipe(recipe, override)
    from understudy.pipeline.plan import plan as plan_recipe
    from understudy.pipeline.plan import total

    with progress_for(sys.stderr, quiet=quiet) as progress:
        stages = plan_recipe(settings, out=out, progress=progress, allow_code=allow_code)
    print_plan(stages, total(stages))


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="Study file (YAML).", show_default=False)],
    out: Out = Path("runs"),
    processes: Annotated[
        int, typer.Option(min=1, help="Number of worker processes; the cores are divided among them.")
    ] = 1,
    only: Annotated[list[str], typer.Option(metavar="TASK", help="Run only this task; can be repeated.")] = [],  # noqa: B006 - typer copies it
    method: Annotated[list[str], typer.Option(metavar="ROW", help="Run only this row; can be repeated.")] = [],  # noqa: B006 - typer copies it
    seed: Annotated[list[int], typer.Option(help="Run only this seed; can be repeated.")] = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Run methods x seeds x tasks over one cache and print the results table; several can run at the same time."""
    from understudy.cli.printing import print_results_table
    from understudy.cli.progress_bars import progress_for
    from understudy.config.study import read_study

    settings = read_study(file)
    from understudy.executors import executor_named
    from understudy.study.run_study import Choice, run_study

    choice = Choice(only, method, seed)
    executor = executor_named("processes" if processes > 1 else "local", processes)
    with progress_for(sys.stderr, quiet=quiet) as progress:
        done = run_study(settings, out=out, progress=progress, choice=choice, executor=executor, allow_code=allow_code)
    print_results_table(done.page, done.results_table)
    for failure in done.failures:
        typer.echo(f"understudy: {failure}", err=True)
    if done.failures:
        raise typer.Exit(1)


@app.command()
def show(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file (YAML); default: the demo.", show_default=False)
    ] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    method: Annotated[str | None, typer.Option(help="Explain this method instead of printing a recipe.")] = None,
    methods: Annotated[bool, typer.Option("--methods", help="List all methods instead of printing a recipe.")] = False,
) -> None:
    """Print a checked recipe with every default filled in, or explain methods."""
    from understudy.cli.printing import method_explained, methods_listed
    from understudy.config.read import read_recipe, to_yaml

    if methods or method:
        typer.echo(method_explained(method) if method else methods_listed(), nl=False)
    else:
        typer.echo(to_yaml(read_recipe(recipe or RECIPE, override)), nl=False)


@app.command()
def evaluate(
    folder: RunFolder,
    outputs: Annotated[
        Path | None,
        typer.Option(help="Outputs of another system for the split: JSONL with id and text, or plain lines."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score: dev or test.")] = "test",
    allow_code: AllowCode = False,
) -> None:
    """Score the systems of a run, and outputs of any other system, with the run's metrics."""
    from understudy.cli.printing import print_scores
    from understudy.pipeline.inspect.compare import score_split

    print_scores(score_split(folder, split=split, outputs=outputs, allow_code=allow_code))


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
    from understudy.cli.printing import print_collected
    from understudy.cli.progress_bars import progress_for
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
    """Write report.html and report.json of a finished run again."""
    from understudy.cli.printing import print_result
    from understudy.pipeline.inspect.open import open_run
    from understudy.report.page import write_report

    opened = open_run(folder)
    write_report(opened.facts, folder)
    print_result(opened.folder, opened.facts)


@app.command()
def diagnose(
    folder: RunFolder,
    inputs: Annotated[int, typer.Option(help="Maximum number of dev inputs.")] = 200,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also measure the latency of the teacher with fewer layers.")
    ] = False,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Diagnose a finished run: exposure bias, teacher guidance on student texts, latency by number of layers."""
    from understudy.cli.printing import print_diagnostics
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.inspect.diagnose import diagnose as diagnose_run

    with progress_for(sys.stderr, quiet=quiet) as progress:
        facts = diagnose_run(folder, inputs=inputs, pruned=prune, progress=progress, allow_code=allow_code)
    print_diagnostics(folder, facts)


@pool_app.command("show")
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


def _run(
    recipe: Path,
    override: list[str],
    out: Path,
    *,
    quiet: bool,
    executor: str = "local",
    workers: int = 1,
    allow_code: bool = False,
) -> None:
    from understudy.cli.printing import print_result
    from understudy.cli.progress_bars import progress_for
    from understudy.config.read import read_recipe
    from understudy.executors import executor_named

    settings, chosen = read_recipe(recipe, override), executor_named(executor, workers)
    from understudy.pipeline.run import run as run_recipe

    with progress_for(sys.stderr, quiet=quiet) as progress:
        result = run_recipe(settings, out=out, progress=progress, executor=chosen, allow_code=allow_code)
    print_result(result.folder, result.facts)


def main() -> None:
    """Runs the command line. An error that the user can fix is printed as a message, with exit code 1."""
    # oneDNN caches compiled kernels for 1,024 shapes, and texts of every length add new ones: the memory of a training
    # grew from 2.5 to 4.1 GB in half an hour. With 8 it stays constant, at the same speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    try:
        app()
    except UnderstudyError as error:
        typer.echo(f"understudy: {error}", err=True)
        sys.exit(1)
    except SystemExit as stop:  # typer turns control-C into one
        if stop.code == INTERRUPTED:
            typer.echo("understudy: interrupted; run the same command again to resume", err=True)
        raise
