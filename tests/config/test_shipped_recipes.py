from pathlib import Path

import pytest

from understudy.config.read import read_recipe
from understudy.config.study import read_study
from understudy.config.yaml_files import read_mapping

FILES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_of_the_repository_is_valid(path: Path) -> None:
    """Users run these files: no key is unknown, renamed or contradictory."""
    read = read_study if "methods" in read_mapping(path, "recipe") else read_recipe

    assert read(path).name
