import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import _settings, make_data, read_data

from understudy.config.read import check_recipe
from understudy.errors import DataError
from understudy.progress import NoProgress
from understudy.records import Example
from understudy.store import Store


def bench(tiny: dict[str, Any], folder: Path, task: dict[str, Any]) -> Bench:
    """The tiny recipe with another task."""
    return Bench(check_recipe({**tiny, "task": task}), Store(folder / "store"), NoProgress(), "float32")


def test_a_kd4gen_file_is_a_task(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Its train split is labelled, its other splits keep their names; the stage reads back what it was given."""
    content = {
        "train": {"text": ["a", "b", "c"], "target": ["A", "B", "C"]},
        "dev": {"text": ["d"], "target": ["D"]},
        "test": {"text": ["e"], "target": ["E"]},
    }
    (tmp_path / "task.json").write_text(json.dumps(content))
    task = {"files": {"kd4gen": str(tmp_path / "task.json")}, "labeled_inputs": 1}
    data = read_data(make_data(bench(tiny, tmp_path, task)))

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 2, 2)
    assert data.test == (Example(data.test[0].id, "e", ("E",)),)
    assert not any(example.targets for example in data.unlabeled)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Three CSV files under other names than ours; the second test input is also in train."""
    rows = {"train": ["x,X", "y,Y"], "dev": ["d,D"], "test": ["t,T", "y,Y"]}
    for split, lines in rows.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    return {
        "labeled": str(tmp_path / "train.csv"),
        "dev": str(tmp_path / "dev.csv"),
        "test": str(tmp_path / "test.csv"),
    }


def test_leaks_are_dropped_on_request(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """From what is learned, never from what is scored."""
    said: list[str] = []

    class Hearing(NoProgress):
        def log(self, message: str) -> None:
            said.append(message)

    task = {"files": files, "fields": {"source": "question", "target": "answer"}, "leaks": "drop_from_train"}
    data = read_data(make_data(replace(bench(tiny, tmp_path, task), progress=Hearing())))

    assert [example.source for example in data.labeled] == ["x"]
    assert [example.source for example in data.test] == ["t", "y"]
    assert said == ["1 labeled inputs stand in a held-out split too and take no part (task.leaks)"]


def test_leaks_are_allowed_on_request(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """Then all stays as it was given."""
    task = {"files": files, "fields": {"source": "question", "target": "answer"}, "leaks": "allow"}

    assert len(read_data(make_data(bench(tiny, tmp_path, task))).labeled) == 2


def test_the_key_is_of_the_contents(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """The same files elsewhere are the same data; a changed line is not."""
    task = {"files": files, "fields": {"source": "question", "target": "answer"}, "leaks": "allow"}
    first = make_data(bench(tiny, tmp_path, task))
    moved = Path(files["dev"]).rename(tmp_path / "moved.csv")
    again = make_data(bench(tiny, tmp_path, {**task, "files": {**files, "dev": str(moved)}}))
    moved.write_text("question,answer\nd,other\n")
    changed = make_data(bench(tiny, tmp_path, {**task, "files": {**files, "dev": str(moved)}}))

    assert again.reused
    assert again.key == first.key != changed.key


def test_a_missing_file_is_named(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """Instead of a traceback from whoever wanted to hash it."""
    task = {
        "files": {**files, "test": str(tmp_path / "nowhere.csv")},
        "fields": {"source": "question", "target": "answer"},
    }

    with pytest.raises(DataError, match=r"nowhere\.csv"):
        make_data(bench(tiny, tmp_path, task))


@pytest.fixture
def hub(tmp_path: Path) -> dict[str, Any]:
    """A data set in the hub's layout, in a local folder."""
    (tmp_path / "own").mkdir()
    for split, texts in {"train": "abc", "validation": "de"}.items():
        rows = [{"text": text, "summary": text.upper()} for text in texts]
        (tmp_path / "own" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = {"labeled": "train", "dev": "validation[:1]", "test": "validation[1:]"}
    return {"dataset": str(tmp_path / "own"), "splits": splits, "source": "{text}", "target": "{summary}"}


def test_a_data_set_of_the_hub_is_a_task(tiny: dict[str, Any], hub: dict[str, Any], tmp_path: Path) -> None:
    """Its stage reads back what it was given, with labels hidden as asked."""
    stage = make_data(bench(tiny, tmp_path, {"hub": hub, "labeled_inputs": 1, "unlabeled_inputs": 1}))
    data = read_data(stage)

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 1, 2)
    assert (data.dev[0].targets, data.test[0].targets) == (("D",), ("E",))
    assert stage.manifest.facts["incomplete"] == 0


def test_the_key_is_of_the_folders_contents(tiny: dict[str, Any], hub: dict[str, Any], tmp_path: Path) -> None:
    """The same folder elsewhere is the same data; another template or a changed file is not."""
    first = make_data(bench(tiny, tmp_path, {"hub": hub}))
    moved = Path(hub["dataset"]).rename(tmp_path / "moved")
    again = make_data(bench(tiny, tmp_path, {"hub": hub | {"dataset": str(moved)}}))
    other = make_data(bench(tiny, tmp_path, {"hub": hub | {"dataset": str(moved), "source": "it is {text}"}}))
    (moved / "train.jsonl").write_text('{"text": "a", "summary": "B"}\n')
    changed = make_data(bench(tiny, tmp_path, {"hub": hub | {"dataset": str(moved)}}))

    assert again.key == first.key
    assert len({first.key, other.key, changed.key}) == 3


def test_the_key_of_a_data_set_of_the_hub_is_of_its_name(tiny: dict[str, Any], hub: dict[str, Any]) -> None:
    """And of its revision and configuration; none of them is asked for on the network."""
    asked = [
        {},
        {"dataset": "another/name"},
        {"revision": "v1"},
        {"config": "own"},
    ]
    recipes = [check_recipe({**tiny, "task": {"hub": hub | {"dataset": "some/name"} | other}}) for other in asked]

    assert len({json.dumps(_settings(recipe)) for recipe in recipes}) == 4
