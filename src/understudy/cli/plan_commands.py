"""The commands that look ahead: check and plan. Heavy libraries are imported when they are needed."""

import sys
from pathlib import Path

import typer

from understudy.cli.options import AllowCode, LogFormat, Out, Overrides, Quiet, RecipeFile, checked_recipe


def check(
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Check a recipe, its data and its models before anything is trained; exit code 1 if something is wrong."""
    settings = checked_recipe(recipe, override)
    from understudy.cli.plan_table import print_findings
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.preflight import check as check_recipe

    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        findings = check_recipe(settings, out=out, progress=progress, allow_code=allow_code)
    print_findings(findings)
    if any(one.severity == "error" for one in findings):
        raise typer.Exit(1)


def plan(
    recipe: RecipeFile,
    out: Out = Path("runs"),
    override: Overrides = [],  # noqa: B006 - typer copies it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Plan a run: steps, minutes, memory, disk and money of each stage; no weights are loaded, nothing is sent."""
    settings = checked_recipe(recipe, override)
    from understudy.cli.plan_table import print_plan
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.plan import plan as plan_recipe
    from understudy.pipeline.plan import total

    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        stages = plan_recipe(settings, out=out, progress=progress, allow_code=allow_code)
    print_plan(stages, total(stages))
