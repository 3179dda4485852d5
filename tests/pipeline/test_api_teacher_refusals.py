"""Data that do not suffice for an API teacher are refused before the first request."""

from pathlib import Path

import pytest
from tests.pipeline.api_teacher_recipe import UNREACHABLE, recipe_of, run_plain

from understudy.config.read import check_recipe
from understudy.errors import ConfigError, DataError
from understudy.pipeline.preflight import check


def test_not_all_inputs_can_be_held_out(tmp_path: Path) -> None:
    """The message has the setting, its value and the number of inputs that remain."""
    plain = recipe_of(tmp_path, UNREACHABLE)
    plain["task"]["held_out"] = {"dev": 6, "test": 50}

    with pytest.raises(DataError, match=r"held_out\.test is 50, but .* 50 unlabeled inputs"):
        run_plain(plain, tmp_path / "runs")


def test_a_split_comes_from_one_place(tmp_path: Path) -> None:
    """It has either a file or a number of held-out inputs."""
    plain = recipe_of(tmp_path, UNREACHABLE)
    plain["task"]["held_out"] = {"dev": 6}

    with pytest.raises(ConfigError, match=r"test comes from a file.*neither is given"):
        check_recipe(plain)


def test_check_finds_a_missing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of its variable and what to do, before a run would stop at it; nothing is sent."""
    recipe = check_recipe(recipe_of(tmp_path, UNREACHABLE))
    monkeypatch.delenv("SOME_KEY", raising=False)
    missing, *_ = check(recipe, out=tmp_path / "runs")
    monkeypatch.setenv("SOME_KEY", "any")
    found, *_ = check(recipe, out=tmp_path / "runs")

    assert (missing.check, missing.severity, found.severity) == ("API key", "error", "ok")
    assert "SOME_KEY, which is not set" in missing.finding
    assert "export it" in missing.remedy
