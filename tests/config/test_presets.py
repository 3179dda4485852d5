import re
from typing import Any

import pytest

from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe
from understudy.objectives import OBJECTIVES


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_makes_a_whole_recipe(method: str, minimal: dict[str, Any]) -> None:
    """The method's name is all a recipe must say about it."""
    recipe = check_recipe(minimal | {"distil": {"method": method}})
    preset = PRESETS[method]

    assert {name: share for name, share in recipe.distil.targets if share} == preset.distil["targets"]
    assert recipe.distil.objective.kind == preset.distil["objective"]["kind"]
    assert all(objective.kind in OBJECTIVES for objective in recipe.distil.objectives)


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_names_its_source(method: str) -> None:
    """A paper with its year, and a sentence that says what the student learns."""
    preset = PRESETS[method]

    assert re.search(r"[A-Z]\w+ .*\b(19|20)\d\d\b", preset.source)
    assert preset.meaning.startswith("The student ")
    assert preset.meaning.endswith(".")


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_asks_for_a_pool_where_it_teaches_from_one(method: str) -> None:
    """A share for the teacher's text comes with settings for writing it."""
    preset = PRESETS[method]

    assert "teacher" not in preset.distil["targets"] or preset.pseudo_targets is not None
