import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from understudy.study.processes import run_processes

from understudy.config.study import Study, read_study
from understudy.errors import TrainingError
from understudy.study.run_study import Choice, StudyResult


@pytest.fixture
def file(raw: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny study in a file."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_two_processes_share_the_work(file: Path, studied: StudyResult, tmp_path: Path) -> None:
    """Each stage is made by one of them, and the results_table has the rows of one that a process made alone."""
    done = run_processes(file, read_study(file), out=tmp_path / "runs", processes=2)

    words = [(done.folder / f"process-{number}.log").read_text() for number in (1, 2)]
    worked = Counter(title for own in words for title in re.findall(r"^(.*): done in", own, re.MULTILINE))
    shared = ["teacher learns gold", "teacher answers dev", "teacher answers test", "teacher listens to gold"]
    shared.append("teacher writes text 1 of labeled inputs")
    systems = ["fine_tuned", "logits_kd", "sequence_level"]
    of_each_seed = ["student learns gold (baseline)", *(f"student learns by {name}" for name in systems[1:])]
    of_each_seed += [f"{name} answers {split}" for name in systems for split in ("dev", "test")]
    assert worked == dict.fromkeys(shared, 1) | dict.fromkeys(of_each_seed, 2)
    assert [(row["method"], row["seed"]) for row in done.results_table["rows"]] == [
        (row["method"], row["seed"]) for row in studied.results_table["rows"]
    ]


def test_processes_end_with_the_one_that_started_them(
    file: Path, tmp_path: Path, tiny: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the process itself asks its parent to end; left alone, it would go on for an hour."""
    going_on = tmp_path / "python"
    going_on.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/pid"\nkill -TERM $PPID\nexec sleep 3600\n')
    going_on.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(going_on))
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit) as left:
        run_processes(file, tiny, out=tmp_path, processes=1)
    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_processes_that_die_are_told(file: Path, tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is left, what the process said last, and where to read more."""
    dying = tmp_path / "python"
    dying.write_text('#!/bin/sh\necho "out of memory, asked with $*" >&2\nexit 137\n')
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))

    expected = (
        r"left 1 of 1 cells; one ended with exit code 137 \(out of memory, asked with -m understudy study .* "
        r"--only tiny --method Logits --seed 2\)\. See .*process-1\.log and give the same command again"
    )
    with pytest.raises(TrainingError, match=expected):
        run_processes(file, tiny, out=tmp_path, processes=1, choice=Choice(["tiny"], ["Logits"], [2]))
