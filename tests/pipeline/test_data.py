"""The stage of the splits: read from files, a KD4Gen file or a data set of the hub; identified by their content."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.errors import DataError
from understudy.executors.local import Local
from understudy.pipeline.context import run_context
from understudy.pipeline.prepare import data_stage
from understudy.pipeline.stages.data import DataFacts, DataStage, read_data
from understudy.progress import NoProgress
from understudy.records import Example, TaskData


def stage_of(tiny: dict[str, Any], task: dict[str, Any]) -> DataStage:
    """The data stage of the tiny recipe with another task."""
    return data_stage(check_recipe({**tiny, "task": task}))


def made(stage: DataStage, folder: Path, progress: NoProgress | None = None) -> tuple[TaskData, DataFacts]:
    """The splits and facts of a stage, made in a store below a folder."""
    context = replace(run_context(folder, NoProgress()), progress=progress or NoProgress())
    facts = context.store.get(stage, Local(), context)
    return read_data(context.folder(stage)), facts


def test_a_kd4gen_file_is_a_task(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Its train split is labeled, its other splits keep their names; what is withheld is unlabeled too."""
    content = {
        "train": {"text": ["a", "b", "c"], "target": ["A", "B", "C"]},
        "dev": {"text": ["d"], "target": ["D"]},
        "test": {"text": ["e"], "target": ["E"]},
    }
    (tmp_path / "task.json").write_text(json.dumps(content))
    task = {"files": {"kd4gen": str(tmp_path / "task.json")}, "labeled_inputs": 1}
    data, _ = made(stage_of(tiny, task), tmp_path)

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 2, 2)
    assert data.test == (Example(data.test[0].id, "e", ("E",)),)
    assert not any(example.targets for example in data.unlabeled)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Three CSV files with column names of their own; the second test input is also in train."""
    rows = {"train": ["x,X", "y,Y"], "dev": ["d,D"], "test": ["t,T", "y,Y"]}
    for split, lines in rows.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    return {
        "labeled": str(tmp_path / "train.csv"),
        "dev": str(tmp_path / "dev.csv"),
        "test": str(tmp_path / "test.csv"),
    }


def csv_task(files: dict[str, str], leaks: str) -> dict[str, Any]:
    """The section `task` for the files."""
    return {"files": files, "fields": {"source": "question", "target": "answer"}, "leaks": leaks}


def test_leaks_are_dropped_on_request(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """From the training data, never from what is scored; a progress line gives their number."""
    messages: list[str] = []

    class Recorder(NoProgress):
        def log(self, message: str) -> None:
            messages.append(message)

    data, _ = made(stage_of(tiny, csv_task(files, "drop_from_train")), tmp_path, Recorder())

    assert [example.source for example in data.labeled] == ["x"]
    assert [example.source for example in data.test] == ["t", "y"]
    assert len(messages) == 1
    assert messages[0].startswith("1 labeled inputs")
    assert "task.leaks" in messages[0]


def test_leaks_are_allowed_on_request(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """Then all inputs stay."""
    data, _ = made(stage_of(tiny, csv_task(files, "allow")), tmp_path)

    assert len(data.labeled) == 2


def test_leaks_are_refused_by_default(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """With the setting that allows or drops them."""
    task = csv_task(files, "allow")
    del task["leaks"]

    with pytest.raises(DataError, match="leaks"):
        made(stage_of(tiny, task), tmp_path)


def test_the_key_depends_on_the_contents_of_files(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """The same files elsewhere are the same data; a changed line is not."""
    first = stage_of(tiny, csv_task(files, "allow"))
    moved = Path(files["dev"]).rename(tmp_path / "moved.csv")
    again = stage_of(tiny, csv_task({**files, "dev": str(moved)}, "allow"))
    moved.write_text("question,answer\nd,other\n")
    changed = stage_of(tiny, csv_task({**files, "dev": str(moved)}, "allow"))

    assert again.key == first.key != changed.key


def test_a_missing_file_is_named(tiny: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    """A file that does not exist has no content to hash; reading it names it."""
    task = csv_task({**files, "test": str(tmp_path / "nowhere.csv")}, "refuse")

    with pytest.raises(DataError, match=r"nowhere\.csv"):
        made(stage_of(tiny, task), tmp_path)


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
    """Labels are withheld as requested; the facts count incomplete rows."""
    data, facts = made(stage_of(tiny, {"hub": hub, "labeled_inputs": 1, "unlabeled_inputs": 1}), tmp_path)

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 1, 2)
    assert (data.dev[0].targets, data.test[0].targets) == (("D",), ("E",))
    assert facts.changes["incomplete"] == 0
    assert {split: own["inputs"] for split, own in facts.splits.items()}["dev"] == 1


def test_the_key_depends_on_the_contents_of_a_folder(tiny: dict[str, Any], hub: dict[str, Any], tmp_path: Path) -> None:
    """The same folder elsewhere is the same data; another template or a changed file is not."""
    first = stage_of(tiny, {"hub": hub})
    moved = Path(hub["dataset"]).rename(tmp_path / "moved")
    again = stage_of(tiny, {"hub": hub | {"dataset": str(moved)}})
    other = stage_of(tiny, {"hub": hub | {"dataset": str(moved), "source": "it is {text}"}})
    (moved / "train.jsonl").write_text('{"text": "a", "summary": "B"}\n')
    changed = stage_of(tiny, {"hub": hub | {"dataset": str(moved)}})

    assert again.key == first.key
    assert len({first.key, other.key, changed.key}) == 3


def test_the_key_of_a_hub_data_set_depends_on_its_name(tiny: dict[str, Any], hub: dict[str, Any]) -> None:
    """And on revision and configuration; the network is not used for it."""
    changes = [{}, {"dataset": "another/name"}, {"revision": "v1"}, {"config": "own"}]

    assert len({stage_of(tiny, {"hub": hub | {"dataset": "some/name"} | one}).key for one in changes}) == 4


class Lines(NoProgress):
    """Keeps the lines that are logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Keeps a line."""
        self.lines.append(message)


def test_what_was_recognised_merged_and_repeated_is_said(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A file of another format, rows that are copies, and targets that repeat: each in a line with its number."""
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]
    (tmp_path / "train.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 3)
    for split in ("dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"source": split, "target": "x"}))
    files = {split: str(tmp_path / f"{name}.jsonl") for split, name in NAMES.items()}
    progress = Lines()
    data, facts = made(stage_of(tiny, {"files": files}), tmp_path, progress)

    assert data.labeled == (Example("labeled-1", "u", ("v",)),)
    assert facts.changes == {"merged": 2, "repeated": 2, "shared": 0}
    assert [line.split(": recognised")[0] for line in progress.lines[:1]] == [files["labeled"]]
    assert progress.lines[1:] == [
        "2 records have the source of an earlier record of their file and are merged with it",
        "2 targets repeat a target of their source and are left out",
    ]


NAMES = {"labeled": "train", "dev": "dev", "test": "test"}


def test_a_batch_is_identified_by_the_content_of_its_requests(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Not by their path: the same requests in another place are the same data, other requests are not."""
    for split in ("dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"source": split, "target": "x"}))
    response = {"custom_id": "1", "response": {"body": {"choices": [{"text": "out"}]}}}
    (tmp_path / "train.jsonl").write_text(json.dumps(response))
    files = {split: str(tmp_path / f"{name}.jsonl") for split, name in NAMES.items()}
    stages = {}
    for name, source in (("a", "in"), ("copy", "in"), ("other", "another")):
        requests = tmp_path / f"{name}.jsonl"
        requests.write_text(json.dumps({"custom_id": "1", "body": {"prompt": source}}))
        stages[name] = stage_of(tiny, {"files": files, "format": {"batch_requests": str(requests)}})

    assert stages["a"].key == stages["copy"].key != stages["other"].key
    data, _ = made(stages["other"], tmp_path)
    assert data.labeled == (Example("1", "another", ("out",)),)
