"""A run that is killed in every stage resumes, and ends with the bytes of the run that was not killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.store.disk import checksums

KILLED = Path(__file__).with_name("killed.py")
EVERYWHERE = [
    ["data-", "manifest.json"],
    ["store/data-"],
    ["store/tokenizer-"],
    ["store/examples-"],
    ["teacher-", "checkpoint-", "-000001-"],
    ["teacher-", "checkpoint-", "-000002-"],
    ["store/teacher-"],
    ["fine_tuned-", "checkpoint-", "-000001-"],
    ["conversion-", "manifest.json"],
    ["pseudo_target_shard-", "pool-00000"],
    ["store/pseudo_target_shard-"],
    ["store/pseudo_targets-"],
    ["teacher_logprobs-", "cache.json"],
    ["store/teacher_logprobs-"],
    ["student-", "round-00000"],
    ["student-", "round-00001"],
    ["student-", "checkpoint-", "-000002-"],
    ["student-", "training.json"],
    ["final_finetune-", "checkpoint-", "-000001-"],
    ["store/predictions-"],
    ["store/benchmark-"],
    ["store/scores-"],
]
"""Words of the path at whose naming an attempt is killed, in any order; every stage has its turn."""
SAME = (
    "data",
    "tokenizer",
    "examples",
    "teacher",
    "pseudo_targets",
    "teacher_logprobs_teacher",
    "fine_tuned",
    "joint_teaching_distilled",
    "joint_teaching",
    "predictions_joint_teaching",
)
TIMED = {"manifest.json", "training.json"}
"""Files that hold durations."""


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_student(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    """An attempt that completes after the kills has the bytes of the uninterrupted run: student, teacher, pool."""
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(tiny))

    done = subprocess.run(
        [sys.executable, str(KILLED), str(recipe), str(tmp_path / "runs"), json.dumps(EVERYWHERE)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    reached, code = json.loads(done.stdout)
    assert code == 0, done.stderr[-2000:]
    assert sorted(reached) == sorted(EVERYWHERE)
    resumed = open_run(tmp_path / "runs" / "tiny")
    assert {name: folder.name for name, folder in resumed.stages.items()} == {
        name: folder.name for name, folder in finished.stages.items()
    }
    for name in SAME:
        ours, theirs = checksums(resumed.stages[name]), checksums(finished.stages[name])
        expected = {path: theirs[path] for path in theirs.keys() - TIMED}
        assert expected
        assert {path: ours.get(path) for path in expected} == expected, name
