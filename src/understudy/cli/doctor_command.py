"""The command doctor: what this machine has, and how what is missing is installed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import Out
from understudy.errors import UnderstudyError


def doctor(
    out: Out = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show what this machine has and what is missing; exit code 1 if no run is possible."""
    try:
        from understudy.pipeline.installation import installation

        found = installation()
        machine = None
        if found.problem is None:
            from understudy.pipeline.machine import machine_facts

            machine = machine_facts(out)
    except (ImportError, OSError) as error:  # a library that lacks a file of its own raises either
        raise UnderstudyError(
            f"no run is possible: a required package cannot be loaded ({error}); install it again, with "
            "pip install --force-reinstall and the versions of constraints.txt"
        ) from error
    if as_json:
        everything = {"installation": asdict(found), "machine": machine and asdict(machine)}
        typer.echo(json.dumps(everything, indent=1))
    else:
        from understudy.cli.doctor_table import print_doctor

        print_doctor(found, machine)
    if found.problem is not None:
        raise UnderstudyError(found.problem)
