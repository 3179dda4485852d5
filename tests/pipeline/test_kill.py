import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from understudy.pipeline.open import open_run

from understudy.pipeline.run import Run
from understudy.store.disk import checksums

KILLED = Path(__file__).with_name("killed.py")
POINTS = [
    ["data-", "labeled.jsonl"],
    ["store/data-"],
    ["store/tokenizer-"],
    ["teacher-", "checkpoint-", "-000001-"],
    ["teacher-", "checkpoint-", "-000002-"],
    ["store/teacher-"],
    ["texts-", "pool-00001"],
    ["store/pool-"],
    ["fine_tuned-", "checkpoint-", "-000001-"],
    ["signal_gold-", "cache.json"],
    ["store/signal_teacher-"],
    ["joint_teaching-", "round-00000"],
    ["joint_teaching-", "round-00001"],
    ["joint_teaching-", "checkpoint-", "-000002-"],
    ["joint_teaching_gold-", "checkpoint-", "-000001-"],
    ["store/answers_teacher-"],
    ["store/efficiency-"],
    ["store/proof-"],
    ["no such path"],
]
"""Words of the path whose naming an attempt does not survive: every stage has its turn, then one goes through."""


def test_a_run_killed_in_every_stage_ends_with_the_same_student(
    finished: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Eighteen kills later the student, the teacher and the pool are those of the run nobody killed, byte for byte."""
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(tiny))

    done = subprocess.run(
        [sys.executable, str(KILLED), str(recipe), str(tmp_path / "runs"), json.dumps(POINTS)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    assert json.loads(done.stdout) == [-signal.SIGKILL] * (len(POINTS) - 1) + [0], done.stderr[-2000:]
    survived = open_run(tmp_path / "runs" / "tiny")
    for name in ("data", "tokenizer", "teacher", "pool", "fine_tuned", "joint_teaching", "joint_teaching_gold"):
        mine, theirs = checksums(survived.stages[name].folder), checksums(finished.stages[name].folder)
        written = {path for path in theirs if path not in {"manifest.json", "training.json"}}  # they hold durations
        assert {path: mine.get(path) for path in written} == {path: theirs[path] for path in written}, name
