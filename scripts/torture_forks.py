"""Runs understudy's commands in forks of one process that has imported everything, and kills them.

Importing torch takes seconds, so hundreds of commands start as forks. That is safe as long as the parent never computes
with torch and has no threads: OMP_NUM_THREADS is 1 before the first import, and servers run in forks of their own.
"""

import ctypes
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SUBREAPER = 36
"""Option of prctl: orphans become children of this process, so that it sees them."""
ORPHANS_END_S = 30.0
"""The longest time for children of a killed command to end; they are waited for, so this costs nothing."""
OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "shutil.rmtree"}
"""Audit events that count as file operations, and `os.fsync`, which has none."""


@dataclass(frozen=True)
class Kill:
    """When a command is killed: before its n-th file operation in a folder, or after a time."""

    signal: signal.Signals
    operation: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Minus the number of the signal that ended it."""
    out: str
    err: str
    orphans: tuple[str, ...]
    """Command lines of children that outlived it."""


def prepare(modules: Sequence[str]) -> None:
    """Makes this process adopt orphans, and imports what commands import."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    for name in modules:
        with suppress(Exception):  # what cannot be imported alone is imported by the command
            importlib.import_module(name)


def run_command(
    arguments: Sequence[str], folder: Path, *, kill: Kill | None = None, modules: Path | None = None
) -> Ended:
    """Runs one command in a fork and waits for it and its children.

    Args:
        arguments: of the command line.
        folder: in which file operations count, and where temporary files go (`folder/tmp`).
        kill: when to kill it; None: never.
        modules: a file for the names of all modules that the command has imported.
    """
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            _be_the_command(arguments, folder, kill, modules)
        if kill and kill.seconds is not None:
            time.sleep(kill.seconds)  # the random time is what is tested; nothing is waited for
            os.kill(child, kill.signal)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        orphans = _orphans()
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read(), err.read(), orphans)


def _be_the_command(arguments: Sequence[str], folder: Path, kill: Kill | None, modules: Path | None) -> None:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        sys.argv = ["understudy", *arguments]
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        if kill and kill.operation is not None:
            _kill_at(kill.operation, kill.signal, str(folder))
        from understudy.cli import main

        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - what a user would see
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if modules:
            modules.write_text("\n".join(sorted(sys.modules)))
        os._exit(code)


def _kill_at(operation: int, number: signal.Signals, folder: str) -> None:
    left = operation

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and arguments and str(arguments[0]).startswith(folder):
            count()

    fsync = os.fsync

    def counted(descriptor: Any) -> None:  # noqa: ANN401 - as `os.fsync` has it
        count()
        fsync(descriptor)

    os.fsync = counted  # type: ignore[assignment]  # its parameter has a private type
    sys.addaudithook(audit)


def _orphans() -> tuple[str, ...]:
    # Servers are children too: they were there before and are marked by their name.
    children = [one for one in psutil.Process().children(recursive=True) if not _is_server(one)]
    _, alive = psutil.wait_procs(children, timeout=ORPHANS_END_S)
    found = tuple(" ".join(one.cmdline()) for one in alive)
    for one in alive:
        one.kill()
    return found


SERVERS: set[int] = set()
"""Processes that this process started and that commands talk to."""


def _is_server(process: psutil.Process) -> bool:
    return process.pid in SERVERS
