"""The commands of the stage cache: what it holds, whether it is intact, and deleting what no run needs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.options import folder_named

if TYPE_CHECKING:
    from understudy.store.inventory import StoredStage

store_app = typer.Typer(help="List, verify and clean the stage cache.", no_args_is_help=True)
Runs = Annotated[
    Path,
    typer.Option("--out", parser=folder_named, metavar="PATH", help="Folder of the runs whose stage cache is meant."),
]
UNITS = ("B", "kB", "MB", "GB", "TB")
KILO = 1000
HOUR_S, DAY_S = 3600, 86400


@store_app.command("ls")
def list_stages(out: Runs = Path("runs")) -> None:
    """List the stages with their size, their age, and the runs and studies that need them."""
    stages = _stages(out)
    for stage in stages:
        users = ", ".join(stage.needed_by) or "no run"
        state = "" if stage.finished else "  (unfinished)"
        typer.echo(f"{size(stage.bytes):>8}  {age(stage.finished_at):>9}  {stage.folder.name}  {users}{state}")
    unneeded = sum(stage.bytes for stage in stages if not stage.needed_by)
    total = sum(stage.bytes for stage in stages)
    typer.echo(f"{len(stages)} stages, {size(total)}; no run needs {size(unneeded)} of it (understudy store gc)")


@store_app.command("check")
def check_stages(out: Runs = Path("runs")) -> None:
    """Compare every finished stage with its checksums, as after copying a folder of runs."""
    from understudy.store.inventory import damages

    found = damages(_root(out))
    damaged = [what for what in found.values() if what]
    for what in damaged:
        typer.echo(f"understudy: {what}", err=True)
    typer.echo(f"{len(found) - len(damaged)} of {len(found)} finished stages are as they were written")
    if damaged:
        raise typer.Exit(1)


@store_app.command("gc")
def delete_unneeded(
    out: Runs = Path("runs"),
    older_than: Annotated[float, typer.Option(min=0.0, metavar="DAYS", help="Keep stages that are younger.")] = 1.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Delete the stages that no run and no study in the folder needs; interrupted ones keep theirs."""
    from understudy.store.inventory import delete_stages, is_older

    unneeded = [stage for stage in _stages(out) if not stage.needed_by]
    doomed = [stage for stage in unneeded if is_older(stage, older_than)]
    for stage in doomed:
        typer.echo(f"{size(stage.bytes):>8}  {age(stage.finished_at):>9}  {stage.folder.name}")
    if young := len(unneeded) - len(doomed):
        typer.echo(f"{young} stages that no run needs are younger than {older_than:g} days and are kept (--older-than)")
    if not doomed:
        typer.echo("nothing to delete")
        return
    if not yes:
        typer.confirm(f"Delete these {len(doomed)} stages?", abort=True)
    gone = list(delete_stages(doomed, _root(out)))
    typer.echo(f"deleted {len(gone)} stages, {size(sum(stage.bytes for stage in gone))}")


def size(count: float) -> str:
    """Bytes with a unit, in at most three digits."""
    for unit in UNITS:
        if count < KILO or unit == UNITS[-1]:
            return f"{count:.3g} {unit}" if count < KILO else f"{count:.0f} {unit}"
        count /= KILO
    raise AssertionError


def age(moment: float) -> str:
    """Time since then, in hours or days."""
    seconds = max(0.0, time.time() - moment)
    return f"{seconds / DAY_S:.0f} days" if seconds >= 2 * DAY_S else f"{seconds / HOUR_S:.1f} hours"


def _stages(out: Path) -> "list[StoredStage]":
    from understudy.pipeline.run_record import needed_by_runs
    from understudy.store.inventory import stored_stages
    from understudy.study.needs import needed_by_studies

    return stored_stages(_root(out), {**needed_by_runs(out), **needed_by_studies(out)})


def _root(out: Path) -> Path:
    """The folder of the stage cache."""
    from understudy.config.conflicts import STAGE_CACHE
    from understudy.errors import StoreError

    root = out / STAGE_CACHE
    if not root.is_dir():
        raise StoreError(f"{out} holds no stage cache ({root.name} is missing); give the folder of the runs with --out")
    return root
