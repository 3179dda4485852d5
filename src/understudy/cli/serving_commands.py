"""The commands that put a finished run to use: generate, export. Heavy libraries are imported when they are needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import AllowCode, LogFormat, Quiet, RunFolder


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
    from understudy.pipeline.inspect.deploy import confidence_of, deployment, no_confidence, record_settings
    from understudy.serving.deployment import open_deployment
    from understudy.serving.generate_file import generate_file, refuse_failed

    found, settings, confidence = deployment(folder, system), record_settings(folder), confidence_of(folder, system)
    calibration = confidence.calibration if confidence else None
    with (
        progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress,
        open_deployment(found, device=default_device()) as answering,
    ):
        if calibration is None:
            progress.log(f"no column probability: {no_confidence(folder)}")
        files = generate_file(answering, inputs, out, settings=settings, calibration=calibration, progress=progress)
    typer.echo(f"{files.answered} of {files.rows} rows have an output by {found.system}: {files.outputs}")
    refuse_failed(files)


def export(
    folder: RunFolder,
    form: Annotated[
        str,
        typer.Option("--format", help="hf (Hugging Face), ct2 (CTranslate2) or gguf (llama.cpp).", show_default=False),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            help="hf: float32, bfloat16; ct2: float32, bfloat16, int8; gguf: f16, q8_0, q4_0. Default: the first.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The new folder.", show_default="export-... in the run's")] = None,
    system: Annotated[
        str, typer.Option(help="student (the distilled one), teacher, or another system of the report.")
    ] = "student",
    card: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE",
            help="What only you know, for the model card: data_licence, teacher_licence (or its API's terms), "
            "student_licence, language, notes. Can be repeated.",
        ),
    ] = [],  # noqa: B006 - typer reads it
    allow_code: AllowCode = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> None:
    """Write a system as one folder for other programs, with a model card; its texts are compared with the evaluated."""
    from understudy.cli.progress_bars import progress_for
    from understudy.pipeline.inspect.export import export_run
    from understudy.serving.card import statements_of

    with progress_for(sys.stderr, quiet=quiet, log_format=log_format) as progress:
        written = export_run(
            folder,
            form,
            precision=precision,
            out=out,
            system=system,
            statements=statements_of(card),
            allow_code=allow_code,
            progress=progress,
        )
    if written.warning:
        typer.echo(f"warning: {written.warning}", err=True)
    proof = written.proof
    typer.echo(f"{proof.equal} of {proof.texts} texts of test are equal to the evaluated ones")
    if proof.metric is not None:
        difference = f"{proof.difference:+.2f} [{proof.low:+.2f}, {proof.high:+.2f}]"
        typer.echo(f"difference in {proof.metric}, paired: {difference} (negative is worse)")
    typer.echo(f"{form} in {written.precision}: {written.folder}")
