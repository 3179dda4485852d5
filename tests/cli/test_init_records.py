"""Recorded requests become a task: a teacher's answers are targets, a student's are not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import read_recipe
from understudy.config.task import FilesTask, Format, Splits
from understudy.serving.record_files import record_files
from understudy.serving.records import AnsweredBy, KeepTexts, RecordedText, RecordWriter, TextRecord
from understudy.tasks.chat_turns import Turn
from understudy.tasks.files import load_files
from understudy.tasks.guards import refuse_leaks
from understudy.tasks.task_records import RecordSettings, task_records

Command = Callable[..., tuple[int, str, str]]


def record(number: int, source: str, answered_by: AnsweredBy = "teacher", end: str = "stop") -> TextRecord:
    """A record of one message."""
    turns = [Turn("system", "Be brief."), Turn("user", source)]
    return TextRecord(f"r{number}", turns, [RecordedText(f"the answer to {source}", end)], answered_by, "m")


def kept(folder: Path, records: Sequence[TextRecord]) -> None:
    """Writes records as one process does."""
    writer = RecordWriter(KeepTexts(folder), lambda _outcome: None)
    for one in records:
        writer.write(one)
    writer.close()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Records of two processes: twenty answers of a teacher, five of a student, repetitions and a cut answer.

    One of the student's inputs is a teacher's but for case. The last line of one file is truncated.
    """
    folder = tmp_path / "texts"
    kept(folder, [*(record(i, f"Input {i}") for i in range(12)), record(30, "Input 3")])
    (first,) = record_files(folder)
    first.write_bytes(first.read_bytes() + b'{"id": "r99", "request": {"mess')
    students = [record(20 + i, f"New {i}", "student") for i in range(4)]
    teachers = [record(i, f"Input {i}") for i in range(8, 20)]
    kept(folder, [*teachers, record(25, "Cut", end="length"), *students, record(24, "INPUT 1", "student")])
    return folder


def task_of(folder: Path) -> tuple[FilesTask, dict[str, Path]]:
    """The task of a recipe, and its files."""
    task = read_recipe(folder / "recipe.yaml").task
    assert isinstance(task, FilesTask)
    assert isinstance(task.files, Splits)
    return task, {split: path for split, path in task.files if path}


def test_a_folder_of_records_is_a_task(understudy: Command, tmp_path: Path, texts: Path) -> None:
    """The student's inputs are unlabeled, but for those that a teacher answered; what is left out is said."""
    code, out, err = understudy("init", tmp_path / "task", "--from", texts, "--dev", "2", "--test", "3")

    assert (code, err) == (0, "")
    task, files = task_of(tmp_path / "task")
    given: dict[str, Any] = dict(files)
    data = load_files(**given, settings=RecordSettings(task.fields, task.format)).data
    refuse_leaks(data)
    labeled = [*data.labeled, *data.dev, *data.test]
    assert {one.source: (one.id, one.targets) for one in labeled} == {
        f"Input {i}": (f"r{i}", (f"the answer to Input {i}",)) for i in range(20)
    }
    assert (len(data.dev), len(data.test)) == (2, 3)
    assert {one.source: (one.id, one.targets) for one in data.unlabeled} == {
        f"New {i}": (f"r2{i}", ()) for i in range(4)
    }
    assert "26 records in 2 files; left out: 5 repetitions, 1 truncated line" in out
    assert "records without a usable answer are left out: 1 cut at the length limit" in out
    assert "system turns are left out of the sources (1 different)" in out
    assert "4 inputs that a student answered are unlabeled" in out
    assert "15 labeled, 2 dev, 3 test, 4 unlabeled" in out


def test_a_file_of_records_without_dev_and_test(understudy: Command, tmp_path: Path, texts: Path) -> None:
    """The inputs are written as files too, and dev and test are left to the user."""
    first = next(path for path in record_files(texts) if "r99" in path.read_text())
    code, out, _ = understudy("init", tmp_path / "task", "--from", first)

    task, files = task_of(tmp_path / "task")
    assert code == 0
    assert sorted(files) == ["dev", "labeled", "test"]
    assert task.format == Format()
    assert len((tmp_path / "task" / "data" / "labeled.jsonl").read_text().splitlines()) == 12
    assert "--dev 1 --test 2, which draws them from the file" in out


def test_answers_of_a_student_alone_are_inputs(understudy: Command, tmp_path: Path) -> None:
    """The recipe has an API teacher, which writes the targets."""
    kept(tmp_path / "texts", [record(i, f"New {i}", "student") for i in range(20)])
    code, _, _ = understudy("init", tmp_path / "task", "--from", tmp_path / "texts")

    task, files = task_of(tmp_path / "task")
    assert (code, task.held_out.dev, sorted(files)) == (0, 2, ["unlabeled"])
    rows = [json.loads(line) for line in files["unlabeled"].read_text().splitlines()]
    assert rows[0] == {"id": "r0", "source": "New 0"}


def test_a_request_log_does_not_read_answers_of_a_student_as_targets(texts: Path) -> None:
    """A recipe that names such a file has them left out of the labels, and their inputs among the unlabeled."""
    second = next(path for path in record_files(texts) if "student" in path.read_text())
    said: list[str] = []
    settings = RecordSettings(log=said.append)
    labeled = list(task_records(second, settings, split="labeled", labeled=True))
    assert [row.values["source"] for row in labeled] == [f"Input {i}" for i in range(8, 20)]
    assert any("5 answered by the student" in line for line in said)
    unlabeled = list(task_records(second, settings, split="unlabeled", labeled=False))
    assert len(unlabeled) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "holds no records (records-DATE-*.jsonl)"),
        (["--source", "a"], "have no columns; leave --source and --target out"),
    ],
)
def test_what_is_no_folder_of_records_is_refused(
    understudy: Command, tmp_path: Path, options: list[str], message: str
) -> None:
    """One sentence, and no folder of a task."""
    (tmp_path / "other").mkdir()
    code, _, err = understudy("init", tmp_path / "task", "--from", tmp_path / "other", *options)
    assert (code, message in err, (tmp_path / "task").exists()) == (1, True, False)


def test_multiple_turns_need_a_policy_and_nothing_is_written_before(understudy: Command, tmp_path: Path) -> None:
    """As of any other file of conversations."""
    turns = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]
    kept(tmp_path / "texts", [TextRecord("r", turns, [RecordedText("d")], "teacher", "m")])
    code, _, err = understudy("init", tmp_path / "task", "--from", tmp_path / "texts")
    assert (code, "(init: --turns) to last" in err, (tmp_path / "task").exists()) == (1, True, False)
    assert understudy("init", tmp_path / "task", "--from", tmp_path / "texts", "--turns", "last")[0] == 0
    assert json.loads((tmp_path / "task" / "data" / "labeled.jsonl").read_text())["source"] == "c"


def test_a_prompt_that_the_inputs_hold_already_is_refused(understudy: Command, tmp_path: Path) -> None:
    """An application sends it with each input, and the teacher would read it twice."""
    sent = [f"Forecast: wind {i}\nBulletin:" for i in range(10)]
    kept(tmp_path / "texts", [record(i, text) for i, text in enumerate([*sent, "Forecast: none"])])
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Forecast: {source}\nBulletin:\n")
    options = ["--from", str(tmp_path / "texts"), "--teacher-url", "http://127.0.0.1:9/v1", "--teacher-model", "m"]
    code, _, error = understudy("init", str(tmp_path / "new"), *options, "--prompt", str(prompt))
    assert code == 1
    assert "10 of 11 inputs hold the prompt of --prompt already" in error
    assert not (tmp_path / "new").exists()
    assert understudy("init", str(tmp_path / "new"), *options)[0] == 0
