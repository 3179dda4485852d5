"""Arguments and options that several commands share."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.errors import ConfigError

if TYPE_CHECKING:
    from understudy.config.recipe import Recipe

RecipeFile = Annotated[Path, typer.Argument(help="Recipe file (YAML).", show_default=False)]


def _finished_run(folder: Path) -> Path:
    """Refuses a folder without a finished run before anything heavy is imported."""
    from understudy.pipeline.run_record import read_record

    read_record(folder)
    return folder


RunFolder = Annotated[
    Path,
    typer.Argument(help="Folder of a finished run, such as runs/demo.", callback=_finished_run, show_default=False),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the file; can be repeated.")
]


def folder_named(text: str | Path) -> Path:
    """The folder of an option; an empty text, such as of a variable that is not set, would be the current folder."""
    if not str(text).strip():
        raise typer.BadParameter("it is empty; give the path of a folder, such as runs")
    return Path(text)


def check_variable(option: str, given: str | None, example: str) -> None:
    """Checks the name of an environment variable that holds a secret.

    Raises:
        ConfigError: if it can be no name. It may be the secret, so it is not repeated.
    """
    if given is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", given):
        raise ConfigError(
            f"{option} takes the name of an environment variable, such as {example}; what it holds is never written "
            "into a recipe or a command: export it in that variable"
        )


Out = Annotated[Path, typer.Option(parser=folder_named, metavar="PATH", help="Folder for runs and the stage cache.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Import metrics, objectives and checkers that the recipe names as code.")
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Stop after this time with exit code 124; the same command resumes.", show_default=False
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only results and errors.")]
LogFormat = Annotated[
    str | None,
    typer.Option(help="Show progress as lines: text, or json (one object per line). Default: bars on a terminal."),
]


def checked_recipe(path: Path, overrides: list[str]) -> "Recipe":
    """The recipe of a command, after what can be refused before torch is loaded, which takes seconds.

    Raises:
        UnderstudyError: as `read_recipe` and `check_early`.
    """
    from understudy.config.read import read_recipe
    from understudy.pipeline.recipe_files import check_early

    recipe = read_recipe(path, overrides)
    check_early(recipe)
    return recipe
