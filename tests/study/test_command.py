"""The command `study`: what it prints, its exit codes, its choice of cells, and several processes."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.study.conftest import delete_students

from understudy.cli import main
from understudy.study.run_study import StudyResult

Command = Callable[..., tuple[int, str, str]]
TOO_LONG = {"name": "Short", "group": "S3", "method": "logits_kd", "set": {"task": {"max_target_tokens": 2}}}


@pytest.fixture
def study(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Returns a function that runs `understudy study`: study -> exit code, standard output, standard error."""

    def call(raw: dict[str, Any], *options: str) -> tuple[int, str, str]:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
        words = ["understudy", "study", str(tmp_path / "study.yaml"), "--out", str(tmp_path), "--quiet", *options]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.mark.usefixtures("store")
def test_the_command_prints_the_results_table_and_the_path_of_the_page(
    study: Command, raw: dict[str, Any], tmp_path: Path
) -> None:
    """A row for each method, a line for each stage of the paper, and a path."""
    code, out, err = study(raw)

    assert (code, err) == (0, "")
    assert "Sequence-level" in out
    assert "13 of 32" in out
    assert "The paper keeps Logits + single PT." in out
    assert f"page: {tmp_path / 'little' / 'results_table.html'}" in out
    assert (tmp_path / "little" / "results_table.html").is_file()


@pytest.mark.usefixtures("store")
def test_a_failed_cell_gives_exit_code_1(study: Command, raw: dict[str, Any]) -> None:
    """The results table is printed all the same, and standard error has a line for each failure."""
    raw["methods"].append(TOO_LONG)
    code, out, err = study(raw)

    assert code == 1
    assert "Sequence-level" in out
    assert [line.split(":")[1].strip() for line in err.splitlines()] == ["tiny, Short, seed 1", "tiny, Short, seed 2"]


def test_a_study_with_a_mistake_is_refused(study: Command, raw: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is made before."""
    raw["methods"][0]["method"] = "logits"
    code, _, err = study(raw)

    assert code == 1
    assert re.search(r"task tiny, method 'Logits'.*unknown method 'logits'", err, re.DOTALL)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("store")
def test_cells_can_be_chosen(study: Command, raw: dict[str, Any], tmp_path: Path) -> None:
    """The options name tasks, rows and seeds."""
    code, _, _ = study(raw, "--only", "tiny", "--method", "Logits", "--seed", "2")

    assert code == 0
    assert [path.name for path in (tmp_path / "little" / "cells").iterdir()] == ["tiny-Logits-2.json"]


@pytest.mark.usefixtures("store")
def test_only_finished_cells_are_printed(study: Command, raw: dict[str, Any]) -> None:
    """Rows and tasks without a finished cell are on the page only; no word is truncated, and a line counts the rest."""
    raw["tasks"]["another"] = None
    code, out, _ = study(raw, "--only", "tiny", "--method", "Logits")

    assert code == 0
    table = out[: out.index("6 of 8 cells are not finished")]
    assert "Sequence-level" not in table
    assert "another" not in table
    assert "…" not in table


def test_worker_processes_make_the_same_stages(
    study: Command, raw: dict[str, Any], studied: StudyResult, tmp_path: Path
) -> None:
    """The names of the folders have the keys of the stages; the scores are those of a study in one process."""
    code, out, err = study(raw, "--processes", "2")
    rows = json.loads((tmp_path / "little" / "results_table.json").read_text())["rows"]

    assert (code, err) == (0, "")
    assert "Sequence-level" in out
    assert stages_in(tmp_path / "store") == stages_in(studied.folder.parent / "store")
    for row, expected in zip(rows, studied.results_table["rows"], strict=True):
        assert (row["method"], row["seed"]) == (expected["method"], expected["seed"])
        assert row["scores"]["dev"] == pytest.approx(expected["scores"]["dev"], rel=1e-4)


def test_two_studies_over_one_store_make_each_stage_once(
    raw: dict[str, Any], studied: StudyResult, store: Path, tmp_path: Path
) -> None:
    """A stage that the other process is making is waited for; together they train each student once."""
    delete_students(studied, store, "Logits")
    delete_students(studied, store, "Sequence-level")
    processes = []
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**raw, "name": name}))
        words = [sys.executable, "-m", "understudy", "study", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path)]
        processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    logs = [process.communicate()[1] for process in processes]
    work = Counter(title for log in logs for title in re.findall(r"^\S+ (.*): done in", log, re.MULTILINE))
    tables = [json.loads((tmp_path / name / "results_table.json").read_text()) for name in ("first", "second")]

    assert [process.returncode for process in processes] == [0, 0]
    assert work == {"distil the student": 4, "student predicts dev": 4, "student predicts test": 4}
    assert tables[0]["rows"] == tables[1]["rows"]
    assert stages_in(store) == stages_in(studied.folder.parent / "store")


def stages_in(store: Path) -> set[str]:
    """The folders of the finished stages in a store."""
    return {path.parent.name for path in store.glob("*/manifest.json")}
