"""Data that do not suffice for an API teacher are refused before the first request."""

from pathlib import Path

import pytest
from tests.pipeline.api_teacher_recipe import UNREACHABLE, recipe_of, run_plain

from understudy.config.read import check_recipe
from understudy.errors import ConfigError, DataError


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
