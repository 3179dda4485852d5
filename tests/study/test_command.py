import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.cli import main
from understudy.study.run_study import StudyResult

Command = Callable[..., tuple[int, str, str]]
TOO_LONG = {"name": "Short", "group": "S3", "method": "logits_kd", "set": {"task": {"max_target_tokens": 2}}}


@pytest.fixture
def study(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """`understudy study` on a study: exit code, what it printed, what it complained of."""

    def call(raw: dict[str, Any], *options: str) -> tuple[int, str, str]:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
        words = ["understudy", "study", str(tmp_path / "study.yaml"), "--out", str(tmp_path), "--quiet", *options]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            main()
        printed, complained = capfd.readouterr()
        return int(stopped.value.code or 0), printed, complained

    return call


@pytest.fixture
def store(studied: StudyResult, tmp_path: Path) -> Path:
    """The stages of the tiny study, so that nothing is made anew."""
    return Path(shutil.copytree(studied.folder.parent / "store", tmp_path / "store"))


@pytest.mark.usefixtures("store")
def test_the_command_prints_the_ladder_and_where_the_page_lies(
    study: Command, raw: dict[str, Any], tmp_path: Path
) -> None:
    """A row per method, a line per stage, a path."""
    code, printed, complained = study(raw)

    assert (code, complained) == (0, "")
    assert "Sequence-level" in printed
    assert "13 of 32" in printed
    assert "The paper keeps Logits + single PT." in printed
    assert f"page: {tmp_path / 'little' / 'results_table.html'}" in printed
    assert (tmp_path / "little" / "results_table.html").is_file()


@pytest.mark.usefixtures("store")
def test_a_cell_that_failed_is_the_exit_code(study: Command, raw: dict[str, Any]) -> None:
    """The results_table is printed all the same, and each failure is told on standard error."""
    raw["methods"].append(TOO_LONG)
    code, printed, complained = study(raw)

    assert code == 1
    assert "Sequence-level" in printed
    assert [line.split(":")[1].strip() for line in complained.splitlines()] == [
        "tiny, Short, seed 1",
        "tiny, Short, seed 2",
    ]


def test_a_study_with_a_mistake_is_refused(study: Command, raw: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is made."""
    raw["methods"][0]["method"] = "logits"
    code, _, complained = study(raw)

    assert code == 1
    assert "task tiny, method 'Logits': unknown method 'logits'" in complained
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("store")
def test_parts_of_a_study_can_be_asked_for(study: Command, raw: dict[str, Any], tmp_path: Path) -> None:
    """By task, by row and by seed."""
    code, _, _ = study(raw, "--only", "tiny", "--method", "Logits", "--seed", "2")

    assert code == 0
    assert [path.name for path in (tmp_path / "little" / "cells").iterdir()] == ["tiny-Logits-2.json"]


@pytest.mark.usefixtures("store")
def test_only_what_is_made_is_printed(study: Command, raw: dict[str, Any]) -> None:
    """A row or a task without a finished cell stands on the page; the table has no words cut, and says what is left."""
    raw["tasks"]["another"] = None
    code, printed, _ = study(raw, "--only", "tiny", "--method", "Logits")

    assert code == 0
    table = printed[: printed.index("cells are not made")]
    assert "Sequence-level" not in table
    assert "another" not in table
    assert "…" not in table
    assert "6 of 8 cells are not made" in printed
