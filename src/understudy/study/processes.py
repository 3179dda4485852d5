"""A study by several processes: each is the same command on one thread, and each makes the cells nobody makes."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from understudy.config.study import Study
from understudy.errors import TrainingError
from understudy.pipeline.run import QUIET
from understudy.progress import Progress
from understudy.study.run_study import ALL, Choice, StudyResult, write_results_table

TOLD = 3
"""Last lines of a process's log that an error repeats."""


def run_processes(
    path: Path,
    study: Study,
    *,
    out: Path,
    processes: int,
    progress: Progress = QUIET,
    choice: Choice = ALL,
) -> StudyResult:
    """`run_study` by several processes, each the command `understudy study` on the same file.

    Args:
        path: of the study's file.
        study: what stands there.
        out: as `run_study`.
        processes: how many.
        progress: hears where the processes tell how they stand.
        choice: as `run_study`.

    Raises:
        ConfigError: as `run_study`.
        TrainingError: if the processes ended and left cells that are neither made nor told to have failed.
    """
    chosen = {(cell.task, cell.row.name, cell.seed) for cell in choice.cells(study)}
    folder = out / study.name
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"process-{number + 1}.log" for number in range(processes)]
    named = {"--only": choice.tasks, "--method": choice.methods, "--seed": choice.seeds}
    options = [word for option, names in named.items() for name in names for word in (option, str(name))]
    command = [sys.executable, "-m", "understudy", "study", str(path), "--out", str(out), *options]
    progress.log(f"{processes} processes are at work; each tells how it stands in {folder}/process-*.log")
    codes = _together(command, logs)
    done = write_results_table(study, out=out)
    missing = [cell for cell in done.results_table["missing"] if not cell["error"]]
    left = sum((cell["task"], cell["method"], cell["seed"]) in chosen for cell in missing)
    if left:
        code, log = next(((code, log) for code, log in zip(codes, logs, strict=True) if code), (0, logs[0]))
        last = " | ".join(log.read_text("utf-8", errors="replace").strip().splitlines()[-TOLD:])
        raise TrainingError(
            f"the processes left {left} of {len(chosen)} cells; one ended with exit code {code} "
            f"({last or 'it said nothing'}). See {log} and give the same command again: what is finished is kept"
        )
    return done


def _together(command: Sequence[str], logs: Sequence[Path]) -> list[int]:
    """The exit codes of the command, started once for each log."""
    # Networks this small gain nothing from a second thread, and the processes would fight for the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started: list[subprocess.Popen[bytes]] = []
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        for log in logs:
            with log.open("wb") as words:
                process = subprocess.Popen(  # noqa: S603 - ourselves
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words, env=environment
                )
                started.append(process)
        return [process.wait() for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: object) -> None:
    """Ends this process as the signal would, but not before those that it started."""
    raise SystemExit(128 + number)
