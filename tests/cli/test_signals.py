"""SIGTERM and the end of the allowed time stop a run as Ctrl-C does; at any moment: `scripts/torture.py`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import TINY

from understudy.cli.app import NOTHING_TO_RESUME
from understudy.cli.signals import ending

SENTENCE = "run the same command again to resume: finished work is kept\n"


def started(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """A run of the smallest recipe, which ignores SIGINT as processes that a script starts in the background do."""
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(TINY))
    code = "import signal; signal.signal(2, signal.SIG_IGN); from understudy.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", str(recipe), "--out", str(tmp_path / "runs"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_sigterm_stops_a_run_with_one_sentence(tmp_path: Path) -> None:
    """It is sent when the first model trains; what was finished before is kept."""
    run = started(tmp_path)
    assert run.stderr is not None
    line = next(line for line in run.stderr if "teacher" in line)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate()

    assert "Traceback" not in line + err
    assert err.splitlines(keepends=True)[-1] == f"understudy: terminated; {SENTENCE}"
    assert run.returncode == 143
    finished = {path.parent.name.partition("-")[0] for path in tmp_path.glob("runs/store/*/manifest.json")}
    assert finished >= {"data", "examples"}


def test_a_run_stops_when_its_time_is_over(tmp_path: Path) -> None:
    """Here while the libraries are loaded; zero minutes are over at once."""
    run = started(tmp_path, "--max-minutes", "0")
    out, err = run.communicate()

    assert (run.returncode, out) == (124, "")
    assert err == f"understudy: the time of --max-minutes is over; {SENTENCE}"


@pytest.mark.parametrize(("resumes", "end"), [(True, f"; {SENTENCE}"), (False, "; run the same command again\n")])
def test_a_command_without_stages_has_nothing_to_resume(resumes: bool, end: str) -> None:
    """`init` writes one file, `plan` prints a table."""
    code, sentence = ending(resumes=resumes)
    assert (code, f"{sentence}\n") == (130, f"interrupted{end}")
    assert {"init", "plan"} <= NOTHING_TO_RESUME
    assert "run" not in NOTHING_TO_RESUME
