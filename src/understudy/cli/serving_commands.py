"""The commands that put a finished run to use: generate. Heavy libraries are imported when they are needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import LogFormat, Quiet, RunFolder


def generate(
    folder: RunFolder,
    inputs: Annotated[Path, typer.Argument(help="Inputs: JSONL, JSON, CSV, TSV or Parquet.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File of the outputs, as JSON lines.", show_default=False)],
    system: Annotated[
        str, typer.Option(help="student (the distilled one), teacher, or another system of the report.")
    ] = "student",
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Generate an output for each row of a file, with the decoding that was evaluated; the same command resumes."""
    from understudy.tasks.text_lines import check_file

    check_file(inputs, missing="name the file of the inputs")
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.context import default_device
    from understudy.pipeline.inspect.deploy import deployment, record_settings
    from understudy.serving.deployment import open_deployment
    from understudy.serving.generate_file import generate_file, refuse_failed

    found, settings = deployment(folder, system), record_settings(folder)
    with (
        progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress,
        open_deployment(found, device=default_device()) as answering,
    ):
        files = generate_file(answering, inputs, out, settings=settings, progress=progress)
    typer.echo(f"{files.answered} of {files.rows} rows have an output by {found.system}: {files.outputs}")
    refuse_failed(files)
