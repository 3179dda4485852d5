from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.study.cells import key_of


def test_new_data_under_an_old_name_make_another_cell(raw: dict[str, Any], tmp_path: Path) -> None:
    """What the files hold is in the key, and so is every setting."""
    files = {name: tmp_path / f"{name}.jsonl" for name in ("labeled", "dev", "test")}
    for name, path in files.items():
        path.write_text(f'{{"source": "{name}", "target": "{name}"}}\n')
    task = {"files": {name: str(path) for name, path in files.items()}}
    recipe = check_recipe({**raw["base"], "name": "some", "task": task})
    before, again = key_of(recipe), key_of(recipe)
    files["dev"].write_text('{"source": "another", "target": "one"}\n')

    assert before == again
    assert key_of(recipe) != before
    assert key_of(recipe.model_copy(update={"seed": 14})) != key_of(recipe)


def test_a_changed_data_set_in_a_folder_makes_another_cell(raw: dict[str, Any], tmp_path: Path) -> None:
    """One of the hub is known by its name."""
    rows = tmp_path / "own" / "train.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"text": "one"}\n')
    hub = {"splits": {"labeled": "train", "dev": "train", "test": "train"}, "source": "{text}", "target": "{text}"}
    keys = {}
    for dataset in (str(rows.parent), "owner/name"):
        recipe = check_recipe({**raw["base"], "name": "some", "task": {"hub": {"dataset": dataset, **hub}}})
        keys[dataset] = recipe, key_of(recipe)
    rows.write_text('{"text": "another"}\n')

    assert [key_of(recipe) == before for recipe, before in keys.values()] == [False, True]


@pytest.mark.parametrize("where", ["teacher", "student"])
def test_another_checkpoint_under_an_old_name_makes_another_cell(
    raw: dict[str, Any], tmp_path: Path, where: str
) -> None:
    """A local one is known by its contents."""
    weights = tmp_path / "model.safetensors"
    weights.write_text("weights")
    recipe = check_recipe({**raw["base"], "name": "some", where: {"model": str(tmp_path)}})
    before = key_of(recipe)
    weights.write_text("other weights")

    assert key_of(recipe) != before


def test_a_file_that_is_not_there_is_left_to_the_run(raw: dict[str, Any], tmp_path: Path) -> None:
    """Asking for the key of a recipe whose data are missing says nothing; making the cell does."""
    task = {"files": {name: str(tmp_path / name) for name in ("labeled", "dev", "test")}}

    assert key_of(check_recipe({**raw["base"], "name": "some", "task": task}))
