"""The small version of `scripts/torture.py`: killed runs and damaged files of both kinds of teacher."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.trains
def test_kills_lose_nothing_and_damages_are_refused() -> None:
    """The same student and report, no orphan, no temporary file; no damage is silent or a traceback."""
    command = [sys.executable, "scripts/torture.py", "--kills", "6", "--damages", "20", "--seed", "22"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.startswith("seed 22\n")
    assert "\n6 kills in 2 runs" in done.stdout
    assert "\n0 failures in " in done.stdout
