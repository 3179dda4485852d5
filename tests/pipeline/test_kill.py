"""A run that is killed in every stage resumes, and ends with the bytes of the run that was not killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.stage_helpers import SmallTask

from understudy.config.read import merge
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


STUDENT = [
    ["student-", "round-00000"],
    ["student-", "checkpoint-", "-000001-"],
    ["student-", "checkpoint-", "-000002-"],
    ["student-", "training.json"],
    ["store/student-"],
]
TRAINING = {"epochs": 3, "warmup_steps": 1, "batch_tokens": 60}
TRAININGS: dict[str, dict[str, Any]] = {
    "adapter": {"lora": {"rank": 2}, "gradient_checkpointing": True},
    "several targets": {"targets_per_source": "auto"},
    "averaged": {"keep_weights": "average", "schedule": "constant", "gradient_accumulation_steps": 2},
}
"""Kind -> what is set in its training; each changes what a checkpoint holds or what an epoch is."""


def attempts(recipe: Path, out: Path, points: list[list[str]]) -> list[list[str]]:
    """The points at which attempts were killed, before the one that ended well."""
    done = subprocess.run(
        [sys.executable, str(KILLED), str(recipe), str(out), json.dumps(points)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    reached, code = json.loads(done.stdout)
    assert code == 0, done.stderr[-2000:]
    return list(reached)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAININGS)
def test_every_kind_of_training_resumes_to_the_same_student(kind: str, tmp_path: Path) -> None:
    """Killed at its checkpoints, at its samples and at its end, it has the bytes of the one that was not killed."""
    task = SmallTask.write(tmp_path)
    changes = {
        "student": {"prune": {"decoder_layers": 1}, "finetune": {"epochs": 1, "warmup_steps": 0}},
        "distil": {"method": "joint_teaching"},
        "training": TRAINING | TRAININGS[kind],
        "evaluation": {"repeats": 1, "latency_inputs": 1, "resamples": 20},
    }
    recipe = tmp_path / "small.json"
    recipe.write_text(json.dumps(merge({**task.plain, "student": {}}, changes)))
    found = []
    for name, points in (("killed", STUDENT), ("whole", [])):
        assert sorted(attempts(recipe, tmp_path / name, points)) == sorted(points)
        stage = open_run(tmp_path / name / "small").stages["joint_teaching"]
        found.append({path: own for path, own in checksums(stage).items() if path not in TIMED})

    assert found[0] == found[1]
    assert any(path.endswith(".safetensors") for path in found[0])


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_student(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    """An attempt that completes after the kills has the bytes of the uninterrupted run: student, teacher, pool."""
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(tiny))

    assert sorted(attempts(recipe, tmp_path / "runs", EVERYWHERE)) == sorted(EVERYWHERE)
    resumed = open_run(tmp_path / "runs" / "tiny")
    assert {name: folder.name for name, folder in resumed.stages.items()} == {
        name: folder.name for name, folder in finished.stages.items()
    }
    for name in SAME:
        ours, theirs = checksums(resumed.stages[name]), checksums(finished.stages[name])
        expected = {path: theirs[path] for path in theirs.keys() - TIMED}
        assert expected
        assert {path: ours.get(path) for path in expected} == expected, name
