"""A whole run on a Ray cluster of this machine has the bytes of the one in this process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import SMALL, held_out, write_jsonl
from tests.executors.ray_machines import Machine

from understudy.store.disk import checksums
from understudy.store.manifest import MANIFEST

pytest.importorskip("ray", reason="the extra ray is not installed: pip install -c constraints.txt -e '.[dev,ray]'")

ROOT = Path(__file__).parent.parent.parent
ONE_EPOCH = {"epochs": 1, "warmup_steps": 1}
TIMED = {MANIFEST, "training.json"}
"""Files that say how long something took."""
STUDENT = """
import sys
from pathlib import Path
from understudy.config.read import read_recipe
from understudy.executors import executor_named
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.progress import NoProgress

class Lines(NoProgress):
    def log(self, message):
        print(message)

context = run_context(Path(sys.argv[2]), Lines())
systems = build_run(read_recipe(Path(sys.argv[1])), context).systems
wanted = [systems.final.predictions, systems.final.network]
outcomes = context.store.get_all(wanted, executor_named(sys.argv[3], 2), context)
assert set(outcomes.values()) == {"made"}, outcomes
"""


def write_recipe(folder: Path) -> Path:
    """A recipe at the smallest sizes whose student learns the teacher's and its own texts."""
    labeled = [{"id": f"r{i}", "source": f"record {i}", "target": f"the text of {i}"} for i in range(9)]
    for split, rows in {"train": labeled, "dev": held_out("d"), "test": held_out("t")}.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    plain = {
        "precision": "float32",
        "task": {
            "files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
            "metrics": ["chrf"],
            "primary_metric": "chrf",
            "max_source_tokens": 40,
            "max_target_tokens": 20,
        },
        "teacher": {"scratch": SMALL, "vocab_size": 120, "finetune": ONE_EPOCH},
        "student": {"scratch": SMALL, "finetune": ONE_EPOCH},
        "pseudo_targets": {"inputs": ["labeled"], "per_input": 2, "shard_inputs": 3},
        "distil": {"method": "joint_teaching"},
        "training": ONE_EPOCH,
        "evaluation": {
            "decoding": {"kind": "greedy"},
            "resamples": 20,
            "latency_inputs": 1,
            "batch_inputs": 2,
            "repeats": 1,
        },
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(plain))
    return folder / "small.yaml"


def make(recipe: Path, out: Path, executor: str, **variables: str) -> str:
    """Makes the student with one thread per stage, in a process of its own; returns the lines of progress."""
    command = [sys.executable, "-c", STUDENT, str(recipe), str(out), executor]
    own = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(store: Path) -> Mapping[str, Mapping[str, str]]:
    """Folder of each stage -> its files without times, and their checksums."""
    return {
        path.name: {name: digest for name, digest in checksums(path).items() if name not in TIMED}
        for path in store.glob("[!.]*")
    }


@pytest.mark.trains
def test_a_run_on_a_cluster_has_the_bytes_of_one_in_this_process(tmp_path: Path) -> None:
    """Tokenizer, teacher, pseudo-targets, log-probabilities, student, predictions, with one thread per stage; the
    cluster's progress is shown.
    """
    recipe = write_recipe(tmp_path)
    machine = Machine(cpus=2)
    try:
        shown = make(recipe, tmp_path / "cluster", "ray", RAY_ADDRESS=machine.address)
    finally:
        machine.end()
    make(recipe, tmp_path / "local", "local")
    here, there = results(tmp_path / "local/store"), results(tmp_path / "cluster/store")

    assert there == here
    assert sum(name.startswith("pseudo_target_shard") for name in here) > 2
    assert any(name.startswith("student-") for name in here)
    assert "distil the student: done" in shown
