import copy
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.errors import ConfigError, DataError
from understudy.pipeline.recipe_checks import check_names
from understudy.pipeline.run import run


def changed(tiny: dict[str, Any], changes: dict[str, Any]) -> Recipe:
    """The tiny recipe with other settings."""
    return check_recipe(merge(copy.deepcopy(tiny), changes))


def test_a_missing_file_is_reported_before_a_model_is_looked_for(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The teacher's checkpoint does not exist either."""
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("labeled", "dev", "test")}
    task = {key: value for key, value in tiny["task"].items() if key != "forecast"}
    recipe = tiny | {"task": task | {"files": files}, "teacher": {"model": str(tmp_path / "teacher")}}

    with pytest.raises(DataError, match=r"labeled\.jsonl: no such file"):
        run(check_recipe(recipe), out=tmp_path / "runs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "vllm2"}, r"engine 'vllm2'.*auto, ctranslate2, hf"),
        ({"task": {"metrics": ["bleu", "bluu"]}}, r"metric 'bluu'.*bleu"),
        ({"task": {"metrics": ["bleu", "own.py:bleu"]}}, r"own\.py:bleu.*rename"),
        ({"task": {"metrics": ["bleu", "own.py:exact"]}}, "--allow-code"),
        ({"distil": {"objective": {"kind": "custom", "function": "own.py:loss"}}}, r"own\.py:loss.*--allow-code"),
        (
            {"distil": {"student_samples_objective": {"kind": "custom", "function": "own.py:loss"}}},
            r"own\.py:loss.*--allow-code",
        ),
    ],
)
def test_an_unusable_name_is_refused_before_anything_is_made(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    """The message names what was found and the remedy, and the store stays empty."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("raise AssertionError('imported')\n")

    with pytest.raises(ConfigError, match=message):
        run(changed(tiny, changes), out=tmp_path / "runs")

    assert not list(tmp_path.glob("runs/store/*-*"))


def test_known_names_pass(tiny: dict[str, Any]) -> None:
    """The recipe as it is, with any engine of the table."""
    for engine in ("auto", "hf", "ctranslate2", "vllm"):
        check_names(changed(tiny, {"engine": engine}), allow_code=False)


def test_a_setting_that_an_objective_does_not_take_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The message names the setting, before the teacher is trained for it."""
    file = tmp_path / "own.py"
    file.write_text("def loss(student, teacher, *, temperature=1.0):\n    return student.sum()\n")
    objective = {"kind": "custom", "function": f"{file}:loss", "settings": {"beta": 1.0}}

    with pytest.raises(ConfigError, match="beta"):
        run(changed(tiny, {"distil": {"objective": objective}}), out=tmp_path / "runs", allow_code=True)
