import re
from typing import Any

import pytest

from understudy.config.presets import PRESETS, RENAMED_METHODS, preset_named
from understudy.config.read import check_recipe
from understudy.errors import ConfigError
from understudy.objectives import OBJECTIVES


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_completes_a_recipe(method: str, minimal: dict[str, Any]) -> None:
    """The method's name is the only setting of the method that a recipe needs."""
    recipe = check_recipe(minimal | {"distil": {"method": method}})
    preset = PRESETS[method]

    assert {name: share for name, share in recipe.distil.targets if share} == preset.distil["targets"]
    assert recipe.distil.objective.kind == preset.distil["objective"]["kind"]
    assert all(objective.kind in OBJECTIVES for objective in recipe.distil.objectives)


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_names_its_source(method: str) -> None:
    """The source is a paper with its year; the meaning is a sentence about the student."""
    preset = PRESETS[method]

    assert re.search(r"[A-Z]\w+ .*\b(19|20)\d\d\b", preset.source)
    assert preset.meaning.startswith("The student ")
    assert preset.meaning.endswith(".")


@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_that_uses_teacher_texts_has_settings_for_them(method: str) -> None:
    """A share of teacher texts comes with settings for generating them."""
    preset = PRESETS[method]

    assert "teacher" not in preset.distil["targets"] or preset.pseudo_targets is not None


@pytest.mark.parametrize(("old", "new"), RENAMED_METHODS.items())
def test_a_renamed_method_is_refused_with_its_new_name(old: str, new: str) -> None:
    """The new name is a known method, the old one is not."""
    assert new in PRESETS
    with pytest.raises(ConfigError, match=f"'{old}' was renamed; use '{new}'"):
        preset_named(old)


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    """The message also lists the known names."""
    with pytest.raises(ConfigError, match=r"unknown method 'joint_teching'.*distillm, .*did you mean 'joint_teaching'"):
        preset_named("joint_teching")
