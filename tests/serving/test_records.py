"""What is kept of requests: each text once, redacted, and deleted by days and by request id."""

import json
import os
import resource
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, DataError, StoreError
from understudy.serving.record_files import Deleted, delete_records, record_files, stored_lines
from understudy.serving.records import KeepTexts, RecordedText, RecordWriter, TextRecord
from understudy.tasks.chat_turns import Turn

HOOKS = """
def mask(text): return text.replace("Ada", "NAME")
def fail(text):
    if "Ada" in text: raise ValueError(text)
    return text
def nothing(text): return None
number = 3
"""


def text(name: str, source: str, output: str = "yes", **more: Any) -> TextRecord:  # noqa: ANN401 - fields
    """A record of a request with one message and one text."""
    return TextRecord(name, [Turn("user", source)], [RecordedText(output)], "teacher", "large", **more)


def written(keep: KeepTexts, records: Sequence[TextRecord]) -> list[str]:
    """What became of each record that a process wrote."""
    outcomes: list[str] = []
    writer = RecordWriter(keep, outcomes.append)
    for record in records:
        writer.write(record)
    writer.close()
    return outcomes


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of a folder."""
    return [json.loads(line) for path in record_files(folder) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of records that does not exist yet."""
    return tmp_path / "texts"


@pytest.fixture
def hook(tmp_path: Path) -> Callable[[str], str]:
    """Returns the spec of a function of the user's file."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    return lambda name: f"{tmp_path / 'hooks.py'}:{name}"


def test_a_line_holds_the_request_and_its_answer(folder: Path) -> None:
    """In the form of a request log; folder and file are the owner's alone."""
    record = text("r1", "Ä b", parameters={"model": "m", "n": 1}, usage={"prompt_tokens": 2}, confidence=[0.5])
    assert written(KeepTexts(folder), [record]) == ["written"]

    (path,) = record_files(folder)
    (line,) = lines(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.startswith(f"records-{datetime.now(UTC).date()}-")
    assert line.pop("time") == record.time.isoformat(timespec="milliseconds")
    assert len(line.pop("digest")) == 32
    assert line == {
        "id": "r1",
        "answered_by": "teacher",
        "request": {"messages": [{"role": "user", "content": "Ä b"}], "model": "m", "n": 1},
        "response": {
            "model": "large",
            "choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        },
        "usage": {"prompt_tokens": 2},
        "confidence": [0.5],
    }


def test_equal_texts_are_written_once(folder: Path) -> None:
    """A repetition leaves its id; other outputs, and another process, write the texts."""
    records = [text("r1", "a"), text("r2", "a"), text("r3", "a", "no"), text("r4", "a")]
    assert written(KeepTexts(folder), records) == ["written", "repeated", "written", "repeated"]
    assert written(KeepTexts(folder), [text("r5", "a")]) == ["written"]

    found = {line["id"]: line for line in lines(folder)}
    assert {name for name, line in found.items() if "request" in line} == {"r1", "r3", "r5"}
    assert found["r2"].keys() == {"id", "time", "digest"}
    assert found["r1"]["digest"] == found["r2"]["digest"] == found["r5"]["digest"] != found["r3"]["digest"]


def test_each_text_is_redacted_before_it_is_written(folder: Path, hook: Callable[[str], str]) -> None:
    """Messages, outputs and texts among the parameters; the name is nowhere in the folder."""
    turns = [Turn("system", "Call me Ada."), Turn("user", "I am Ada")]
    record = TextRecord("r", turns, [RecordedText("Hello Ada")], "teacher", "m", {"stop": ["Ada"], "seed": 3})
    assert written(KeepTexts(folder, hook("mask"), allow_code=True), [record]) == ["written"]

    (path,) = record_files(folder)
    assert "Ada" not in path.read_text()
    assert lines(folder)[0]["request"] == {
        "messages": [{"role": "system", "content": "Call me NAME."}, {"role": "user", "content": "I am NAME"}],
        "stop": ["NAME"],
        "seed": 3,
    }


@pytest.mark.parametrize("name", ["fail", "nothing"])
def test_what_cannot_be_redacted_is_dropped(
    folder: Path, hook: Callable[[str], str], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that raises or returns no text; the log does not have the text either."""
    keep = KeepTexts(folder, hook(name), allow_code=True)
    assert written(keep, [text("r1", "I am Ada")]) == ["not_redacted"]
    assert list(folder.iterdir()) == []
    assert "the record is dropped" in caplog.text
    assert "I am Ada" not in caplog.text


def test_what_no_task_can_read_is_not_written(folder: Path) -> None:
    """Blank sources, zero characters, halves of characters, no output, no message of the user at the end."""
    unusable = [
        text("r", " "),
        text("r", "a\0"),
        text("r", "a", "\ud83d"),
        TextRecord("r", [Turn("user", "a")], [], "teacher", "m"),
        TextRecord("r", [Turn("user", "a"), Turn("assistant", "b")], [RecordedText("c")], "teacher", "m"),
    ]
    assert written(KeepTexts(folder), unusable) == ["not_text"] * 5
    assert [path for path in folder.iterdir() if path.read_bytes()] == []


def test_old_days_are_deleted(folder: Path) -> None:
    """Of three days, the files of today and the two days before stay; other files are not touched."""
    folder.mkdir(mode=0o700)
    today = datetime.now(UTC).date()
    names = [f"records-{today - timedelta(days=age)}-0123abcd.jsonl" for age in range(5)]
    for name in [*names, f".{names[4]}.partial", "records-of-mine.jsonl", "notes.txt"]:
        (folder / name).write_text("")
    written(KeepTexts(folder, days=3), [])
    assert {path.name for path in folder.iterdir()} == {*names[:3], "records-of-mine.jsonl", "notes.txt"}


def test_deletion_removes_the_texts_of_a_request(folder: Path) -> None:
    """Its record, those of equal texts and their repetitions, in all files; the process that writes goes on."""
    written(KeepTexts(folder), [text("x1", "secret"), text("x2", "other")])
    outcomes: list[str] = []
    writer = RecordWriter(KeepTexts(folder), outcomes.append)
    for record in (text("r1", "secret"), text("r2", "kept"), text("r3", "secret")):
        writer.write(record)
    while len(outcomes) < 3:
        pass
    assert delete_records(folder, ["r3"]) == Deleted(records=2, repetitions=1)
    assert {line["id"] for line in lines(folder)} == {"x2", "r2"}

    writer.write(text("r4", "secret"))
    writer.write(text("r5", "kept"))
    writer.close()
    assert {line["id"] for line in lines(folder)} == {"x2", "r2", "r4", "r5"}
    assert "request" in next(line for line in lines(folder) if line["id"] == "r4")
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600, 0o600]


def test_a_truncated_line_is_skipped_and_deleted(folder: Path) -> None:
    """As of a killed process; another malformed line is refused with its place."""
    written(KeepTexts(folder), [text("r1", "a"), text("r2", "b")])
    (path,) = record_files(folder)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    assert [line.values is None for line in stored_lines(path)] == [False, True]
    assert delete_records(folder, ["r1"]) == Deleted(1, 0)
    assert list(folder.iterdir()) == []

    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(DataError, match=r"jsonl line 1: .*JSON"):
        list(stored_lines(path))


def test_a_full_disk_leaves_whole_lines(folder: Path) -> None:
    """A record that does not fit is dropped; later ones are written."""
    outcomes: list[str] = []
    writer = RecordWriter(KeepTexts(folder), outcomes.append)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write(record: TextRecord) -> None:
        before = len(outcomes)
        writer.write(record)
        while len(outcomes) == before:
            pass

    write(text("r1", "a"))
    (path,) = record_files(folder)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, unlimited[1]))
        write(text("r2", "b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    write(text("r2", "b"))
    writer.close()
    assert outcomes == ["written", "failed", "written"]
    assert [line["id"] for line in lines(folder)] == ["r1", "r2"]


def test_unknown_ids_delete_nothing(folder: Path) -> None:
    """They are named."""
    written(KeepTexts(folder), [text("r1", "a")])
    with pytest.raises(DataError, match="no record has the id 'r9'; nothing was deleted"):
        delete_records(folder, ["r1", "r9"])
    assert [line["id"] for line in lines(folder)] == ["r1"]


def test_a_folder_that_others_may_open_is_refused(folder: Path, hook: Callable[[str], str]) -> None:
    """And a function that is not allowed, not there or none."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(StoreError, match=r"mode 755.*chmod 700"):
        RecordWriter(KeepTexts(folder), print)
    with pytest.raises(ConfigError, match="--allow-code"):
        RecordWriter(KeepTexts(folder, hook("mask")), print)
    with pytest.raises(ConfigError, match="defines no 'masc'"):
        RecordWriter(KeepTexts(folder, hook("masc"), allow_code=True), print)
    with pytest.raises(ConfigError, match="is no function"):
        RecordWriter(KeepTexts(folder, hook("number"), allow_code=True), print)
