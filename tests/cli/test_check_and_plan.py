"""The commands that look at a recipe before it costs anything."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.pipeline.calibration import machine
from understudy.store.stage import content_key

Command = Callable[..., tuple[int, str, str]]
LONG_ENOUGH = [
    part
    for section in ("teacher.finetune", "student.finetune", "training")
    for part in ("--set", f"{section}.warmup_steps=0")
]


def test_check_prints_findings_with_remedies_and_its_exit_code(understudy: Command, project: Path) -> None:
    """1 while a training is shorter than its warm-up, 0 once it is not; nothing is trained."""
    arguments = ("check", project / "recipe.yaml", "--out", project / "runs", "--quiet")
    code, printed, errors = understudy(*arguments)
    assert (code, errors) == (1, "")
    assert "steps of teacher" in printed
    assert "warm-up 100" in printed
    assert "teacher.finetune.warmup_steps=" in printed

    code, printed, errors = understudy(*arguments, *LONG_ENOUGH)
    assert (code, errors) == (0, "")
    assert "0 errors, 0 warnings" in printed
    assert not list((project / "runs" / "store").glob("teacher-*"))


def test_plan_prints_a_row_for_each_stage_and_the_sum(
    understudy: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the machine's speed from the cache; nothing is trained."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    speed = {kind: [1e-10, 1e-9, 1e-10, 1e-4, 1e-3] for kind in ("train", "ctranslate2", "hf")}
    (project / "cache" / "understudy").mkdir(parents=True)
    path = project / "cache" / "understudy" / f"speed-{content_key(machine())}.json"
    path.write_text(json.dumps({"speed": {**speed, "convert": [1e-8, 1e-2, 1e-2], "load": 2.0}}))
    code, printed, errors = understudy("plan", project / "recipe.yaml", "--out", project / "runs", "--quiet")

    assert (code, errors) == (0, "")
    first_words = [line.split()[0] for line in printed.splitlines() if line.split()]
    assert {"data", "teacher", "pseudo_targets", "fine_tuned", "benchmark", "scores", "to"} <= set(first_words)
    assert not list((project / "runs" / "store").glob("teacher-*"))
