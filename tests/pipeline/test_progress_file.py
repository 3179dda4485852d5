"""The record of a run: what `progress.jsonl` holds, and what a tracker receives."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError
from understudy.pipeline import trackers
from understudy.pipeline.progress_file import RECORD, recorded
from understudy.pipeline.run import Run
from understudy.pipeline.trackers import TRACKERS, Tracker, require_tracker
from understudy.progress import NoProgress


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The record in a folder."""
    return [json.loads(line) for line in (folder / RECORD).read_text(encoding="utf-8").splitlines()]


def losses(history: list[dict[str, float]]) -> list[float]:
    """Of a history, to sort histories."""
    return [row["train_loss"] for row in history]


def test_a_run_records_every_dev_evaluation_of_every_training(finished: Run) -> None:
    """The steps and scores are those of the histories that the trainings keep."""
    by_title: dict[str, list[dict[str, float]]] = defaultdict(list)
    for line in lines_of(finished.folder):
        if line["event"] == "measured":
            by_title[line["title"]].append(line["values"])
    histories = [
        json.loads((folder / "training.json").read_text())["history"]
        for folder in finished.stages.values()
        if (folder / "training.json").is_file()
    ]

    assert [row["step"] for row in by_title["fine-tune the teacher"]]
    assert sorted(by_title.values(), key=losses) == sorted(
        ([row for row in history if row["step"]] for history in histories), key=losses
    )


def test_each_piece_of_work_begins_and_ends_in_the_record(finished: Run) -> None:
    """With its unit and seconds; the time never decreases."""
    lines = lines_of(finished.folder)
    started = [line["title"] for line in lines if line["event"] == "start"]
    done = [line["title"] for line in lines if line["event"] == "done"]

    assert sorted(started) == sorted(done)
    assert "latency, throughput, memory" in started
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_second_attempt_appends(tmp_path: Path) -> None:
    """The lines of an interrupted attempt stay."""
    for message in ("first", "second"):
        with recorded(NoProgress(), tmp_path) as progress:
            progress.log(message)

    assert [line["message"] for line in lines_of(tmp_path)] == ["first", "second"]


def test_a_tensorboard_tracker_receives_what_is_measured(tmp_path: Path) -> None:
    """Read back with the reader of that library."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with recorded(NoProgress(), tmp_path, "tensorboard") as progress, progress.track("train", 2, "round") as advance:
        advance(1, "", {"step": 3, "loss": 1.5})
        advance(0, "", {"step": 4, "bleu": 20.0})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()

    assert [(event.step, event.value) for event in events.Scalars("train/bleu")] == [(4, 20.0)]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(3, 1.5)]


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package and where the numbers are without it."""
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Tracker(TRACKERS["wandb"].open, "a_package_that_is_not_there"))

    with pytest.raises(ConfigError, match=r"pip install a_package_that_is_not_there.*progress\.jsonl"):
        require_tracker("wandb")
