"""Data that do not suffice for a teacher behind an endpoint are refused before the first request."""

from pathlib import Path

import pytest
from tests.pipeline.bought import done, recipe_of

from understudy.config.read import check_recipe
from understudy.errors import ConfigError, DataError


def test_held_out_inputs_leave_some_to_learn_from(tmp_path: Path) -> None:
    """All of them cannot be held out."""
    plain = recipe_of(tmp_path, "http://127.0.0.1:9/v1")
    plain["task"]["held_out"] = {"dev": 6, "test": 50}

    with pytest.raises(DataError, match=r"held_out\.test is 50, but .* 50 unlabeled inputs"):
        done(plain, tmp_path / "runs")


def test_a_split_comes_from_one_place(tmp_path: Path) -> None:
    """A file, or held out: not both, and not neither."""
    plain = recipe_of(tmp_path, "http://127.0.0.1:9/v1")
    plain["task"]["held_out"] = {"dev": 6}

    with pytest.raises(ConfigError, match=r"test comes from a file.*neither is given"):
        check_recipe(plain)
