"""The commands that run a recipe and those that read a finished run."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import SMALL, held_out, write_jsonl

Command = Callable[..., tuple[int, str, str]]
ONE_EPOCH = {"epochs": 1, "warmup_steps": 1}
METRIC = """
import numpy as np

from understudy.evaluation.metrics import Metric, on_texts, ratio


def matches(predictions):
    return np.array([(100.0 * (one.text in one.references), 1.0) for one in predictions])


exact = Metric(name="exact", label="Exact match", statistics=on_texts(matches), formula=ratio)
"""


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    words = [sys.executable, "-m", "understudy", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe at the smallest sizes."""
    folder = tmp_path_factory.mktemp("project")
    labeled = [{"id": f"r{i}", "source": f"record {i}", "target": f"the text of {i}"} for i in range(9)]
    for split, rows in {"train": labeled, "dev": held_out("d"), "test": held_out("t")}.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    plain = {
        "task": {
            "files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
            "metrics": ["chrf", "rouge"],
            "primary_metric": "chrf",
            "max_source_tokens": 40,
            "max_target_tokens": 20,
        },
        "teacher": {"scratch": SMALL, "vocab_size": 120, "finetune": ONE_EPOCH},
        "student": {"scratch": SMALL, "finetune": ONE_EPOCH},
        "pseudo_targets": {"inputs": ["labeled"]},
        "distil": {"method": "sequence_level"},
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


@pytest.fixture(scope="module")
def finished(recipe: Path) -> subprocess.CompletedProcess[str]:
    """The run of the recipe in two worker processes."""
    return run_process("run", recipe, "--out", recipe.parent / "runs", "--executor", "processes", "--workers", "2")


@pytest.fixture
def folder(recipe: Path, finished: subprocess.CompletedProcess[str]) -> Path:
    """The folder of the finished run."""
    assert finished.returncode == 0, finished.stderr
    return recipe.parent / "runs" / "small"


def test_a_run_in_processes_prints_the_result_and_the_progress_of_its_workers(
    finished: subprocess.CompletedProcess[str], folder: Path
) -> None:
    """Standard output has the paths of report and student, standard error the lines of the workers."""
    assert f"report: {folder / 'report.html'}" in finished.stdout.replace("\n", "").replace("report:", "\nreport:")
    assert (folder / "student" / "model.safetensors").is_file()
    assert re.search(r"distil the student.*done", finished.stderr)


def test_the_same_command_resumes_and_makes_nothing_again(recipe: Path, folder: Path, understudy: Command) -> None:
    """In one process the stages are found that worker processes made."""
    code, _, err = understudy("run", recipe, "--out", folder.parent)
    stages = json.loads((folder / "report.json").read_text())["stages"]

    assert code == 0
    assert "done" not in err
    assert all(stage["reused"] for stage in stages)


def test_evaluate_scores_systems_and_outputs_of_others(folder: Path, tmp_path: Path, understudy: Command) -> None:
    """Outputs equal to the references have 100 points of chrF; each score has its signature."""
    (tmp_path / "other.jsonl").write_text("".join(f'{{"id": "t{i}", "text": "text {i}"}}\n' for i in range(3)))
    code, out, _ = understudy("evaluate", folder, "--outputs", tmp_path / "other.jsonl")
    test_code, test_out, _ = understudy("evaluate", folder, "--split", "dev")

    assert code == test_code == 0
    assert re.search(r"chrf .*100\.00", out)
    assert "split:test" in out
    assert "split:dev" in test_out


def test_report_writes_the_page_again(folder: Path, understudy: Command) -> None:
    """The deleted files are back with the same contents."""
    before = (folder / "report.json").read_bytes()
    for name in ("report.html", "report.json"):
        (folder / name).unlink()
    code, out, _ = understudy("report", folder)

    assert code == 0
    assert "student:" in out
    assert json.loads((folder / "report.json").read_bytes())["systems"] == json.loads(before)["systems"]
    assert (folder / "report.html").is_file()


def test_pool_show_prints_pseudo_targets_with_their_sources(folder: Path, understudy: Command) -> None:
    """The options choose their number, and those that contain a string."""
    code, out, _ = understudy("pool", "show", folder, "--limit", "2")
    _, chosen, _ = understudy("pool", "show", folder, "--search", "record 4")

    assert code == 0
    assert "9 texts for 9 inputs" in out
    assert len(re.findall(r"^  record \d$", out, re.MULTILINE)) == 2
    assert re.findall(r"^  record \d$", chosen, re.MULTILINE) == ["  record 4"]


def test_an_unknown_executor_is_answered_with_the_known(recipe: Path, tmp_path: Path, understudy: Command) -> None:
    """Nothing is made before."""
    code, _, err = understudy("run", recipe, "--out", tmp_path / "runs", "--executor", "proceses")

    assert code == 1
    assert "local, processes" in err
    assert not (tmp_path / "runs").exists()


def test_code_of_a_recipe_needs_permission(
    recipe: Path, folder: Path, understudy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the option the message names the code; with it the metric is in the report.

    The run is evaluated and diagnosed from another folder than the one in which the code was named.
    """
    (recipe.parent / "own.py").write_text(METRIC)
    monkeypatch.chdir(recipe.parent)
    settings = ("task.metrics=[chrf, 'own.py:exact']", "task.primary_metric=own.py:exact", "name=own")
    own = ("run", recipe, "--out", folder.parent, "--quiet", *(word for one in settings for word in ("--set", one)))
    code, _, err = understudy(*own)
    allowed, _, message = understudy(*own, "--allow-code")

    assert code == 1
    assert re.search(r"own\.py:exact.*--allow-code", err)
    assert allowed == 0, message
    facts = json.loads((folder.parent / "own" / "report.json").read_text())
    assert list(facts["systems"][0]["scores"]) == ["chrf", "exact"]
    monkeypatch.chdir(folder.parent)
    for command in ("evaluate", "diagnose"):
        refused, _, err = understudy(command, folder.parent / "own")
        code, _, message = understudy(command, folder.parent / "own", "--allow-code")
        assert refused == 1
        assert re.search(r"own\.py:exact.*--allow-code", err)
        assert code == 0, message
