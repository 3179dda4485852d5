"""The key of a cell's recipe: it covers every setting and the contents of every file that the recipe names."""

from pathlib import Path
from typing import Any

import pytest

from understudy.config.study import Cell, cells_of, check_study
from understudy.study.cells import recipe_key


def cell_of(raw: dict[str, Any], **changes: Any) -> Cell:  # noqa: ANN401 - sections of a recipe
    """The first cell of the study with other sections in its recipe."""
    return next(cells_of(check_study({**raw, "base": {**raw["base"], **changes}}, folder=Path())))


def test_new_data_under_an_old_name_make_another_cell(raw: dict[str, Any], tmp_path: Path) -> None:
    """The contents of the files are in the key, and so is every setting."""
    files = {name: tmp_path / f"{name}.jsonl" for name in ("labeled", "dev", "test")}
    for name, path in files.items():
        path.write_text(f'{{"source": "{name}", "target": "{name}"}}\n')
    task = {"files": {name: str(path) for name, path in files.items()}}
    cell = cell_of(raw, task=task)
    before, again, other_seed = recipe_key(cell), recipe_key(cell), recipe_key(cell_of(raw, task=task, seed=14))
    files["dev"].write_text('{"source": "another", "target": "one"}\n')

    assert before == again != other_seed
    assert recipe_key(cell) != before


def test_a_changed_data_set_in_a_folder_makes_another_cell(raw: dict[str, Any], tmp_path: Path) -> None:
    """A data set of the hub is identified by its name."""
    rows = tmp_path / "own" / "train.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"text": "one"}\n')
    hub = {"splits": {"labeled": "train", "dev": "train", "test": "train"}, "source": "{text}", "target": "{text}"}
    keys = {}
    for dataset in (str(rows.parent), "owner/name"):
        cell = cell_of(raw, task={"hub": {"dataset": dataset, **hub}})
        keys[dataset] = cell, recipe_key(cell)
    rows.write_text('{"text": "another"}\n')

    assert [recipe_key(cell) == before for cell, before in keys.values()] == [False, True]


@pytest.mark.parametrize("section", ["teacher", "student"])
def test_another_checkpoint_under_an_old_name_makes_another_cell(
    raw: dict[str, Any], tmp_path: Path, section: str
) -> None:
    """A local checkpoint is identified by its contents."""
    weights = tmp_path / "model.safetensors"
    weights.write_text("weights")
    cell = cell_of(raw, **{section: {"model": str(tmp_path)}})
    before = recipe_key(cell)
    weights.write_text("other weights")

    assert recipe_key(cell) != before


def test_missing_files_do_not_prevent_a_key(raw: dict[str, Any], tmp_path: Path) -> None:
    """The cell is refused when it is made, and the results table has the reason."""
    task = {"files": {name: str(tmp_path / name) for name in ("labeled", "dev", "test")}}

    assert recipe_key(cell_of(raw, task=task))
