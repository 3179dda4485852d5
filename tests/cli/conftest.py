import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.cli import main

Command = Callable[..., tuple[int, str, str]]

SMALL = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 8}


@pytest.fixture
def understudy(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Returns a function that runs the command line: arguments -> exit code, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """Returns nine labeled records."""
    return [{"id": f"r{i}", "source": f"record {i}", "target": f"the text of {i}"} for i in range(9)]


@pytest.fixture
def project(tmp_path: Path, lines: list[dict[str, Any]]) -> Path:
    """Returns a folder with a recipe and its data, ready to run."""
    for split, rows in {"train": lines, "dev": held_out("d"), "test": held_out("t")}.items():
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
    recipe = {
        "task": {"files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}},
        "teacher": {"scratch": SMALL, "finetune": {"epochs": 1}},
        "student": {"scratch": SMALL, "finetune": {"epochs": 1}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def held_out(name: str) -> list[dict[str, Any]]:
    """Returns three records of a held-out split."""
    return [{"id": f"{name}{i}", "source": f"held out {name} {i}", "target": f"text {i}"} for i in range(3)]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes one record per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
