"""The command that compares systems and judges requirements. Heavy libraries are imported when they are needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import AllowCode, Quiet, folder_named

REQUIREMENT_NOT_MET = 3
"""Exit code, so that continuous integration can tell a student that is not good enough from an error."""


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH[:SYSTEM]...",
            help="Folders of finished runs and files of outputs; the first is the candidate.",
            show_default=False,
        ),
    ],
    require: Annotated[
        list[str],
        typer.Option(
            metavar="REQUIREMENT",
            help="Such as 'bleu >= teacher - 1' or 'latency_p50 <= 20'. Can be repeated; exit code 3 if one fails.",
        ),
    ] = [],  # noqa: B006 - typer reads it
    confident: Annotated[
        bool, typer.Option("--confident", help="Judge requirements by the whole 95 % interval, not the point estimate.")
    ] = False,
    references: Annotated[
        Path | None, typer.Option(help="Labeled file, for outputs without a run.", show_default=False)
    ] = None,
    metric: Annotated[
        list[str], typer.Option(help="Metric instead of those of the first run's task; can be repeated.")
    ] = [],  # noqa: B006 - typer reads it
    split: Annotated[str, typer.Option(help="Split to compare on: dev or test.")] = "test",
    out: Annotated[
        Path, typer.Option(parser=folder_named, metavar="PATH", help="Folder of comparison.html and comparison.json.")
    ] = Path("comparison"),
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Compare a candidate with other runs or outputs: paired differences with intervals, and requirements for CI."""
    from understudy.cli.printing import print_comparison
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.inspect.comparison import compare as compare_systems

    with progress_for(sys.stderr, quiet=quiet) as progress:
        compared = compare_systems(
            systems,
            require=require,
            confident=confident,
            references=references,
            metrics=metric,
            split=split,
            out=out,
            progress=progress,
            allow_code=allow_code,
        )
    print_comparison(compared.facts, compared.page)
    if compared.holds is False:
        raise typer.Exit(REQUIREMENT_NOT_MET)
