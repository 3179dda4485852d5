"""`understudy store`: what the cache of stages holds, whether it is intact, and deleting what no run needs."""

import io
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.store.toy_stages import TEXT, Text

from understudy.cli.store import age, size
from understudy.executors.local import Local
from understudy.pipeline.run_record import PLANNED, STAGES, RunRecord, needed_by_runs, write_planned
from understudy.progress import NoProgress
from understudy.store import Store, WorkerContext
from understudy.store.manifest import write_checked

NEEDED, UNNEEDED = Text("needed"), Text("unneeded")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a store of two stages, one of which an interrupted run needs."""
    store = Store(tmp_path / "runs" / "store")
    for stage in (NEEDED, UNNEEDED):
        store.get(stage, Local(), WorkerContext(store, NoProgress()))
    (tmp_path / "runs" / "mine").mkdir()
    write_planned(tmp_path / "runs" / "mine" / PLANNED, [NEEDED])
    return tmp_path / "runs"


def test_the_list_names_size_age_and_runs(understudy: Command, runs: Path) -> None:
    """One line per stage, then the sums."""
    code, out, err = understudy("store", "ls", "--out", runs)

    assert (code, err) == (0, "")
    assert re.search(rf"^ *\d+ B  0\.0 hours  {NEEDED.folder_name}  mine$", out, re.MULTILINE)
    assert re.search(rf"^ *\d+ B  0\.0 hours  {UNNEEDED.folder_name}  no run$", out, re.MULTILINE)
    assert re.search(r"^2 stages, [\d.]+ kB; no run needs \d+ B of it", out, re.MULTILINE)


def test_only_what_no_run_needs_is_deleted(understudy: Command, runs: Path) -> None:
    """Young stages stay unless requested otherwise: a run that is starting may have made them."""
    code, out, _ = understudy("store", "gc", "--out", runs, "--yes")
    assert code == 0
    assert "1 stages that no run needs are younger than 1 days" in out
    assert (runs / "store" / UNNEEDED.folder_name).is_dir()

    code, out, _ = understudy("store", "gc", "--out", runs, "--yes", "--older-than", "0")
    assert code == 0
    assert UNNEEDED.folder_name in out
    assert "deleted 1 stages" in out
    assert not (runs / "store" / UNNEEDED.folder_name).exists()
    assert (runs / "store" / NEEDED.folder_name).is_dir()


def test_nothing_is_deleted_without_a_yes(understudy: Command, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nobody answers."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, _ = understudy("store", "gc", "--out", runs, "--older-than", "0")

    assert code == 1
    assert UNNEEDED.folder_name in out
    assert (runs / "store" / UNNEEDED.folder_name).is_dir()


def test_a_check_names_every_damaged_stage(understudy: Command, runs: Path) -> None:
    """Exit code 1 and a sentence for each; none where all are intact."""
    assert understudy("store", "check", "--out", runs)[:2] == (0, "2 of 2 finished stages are as they were written\n")

    (runs / "store" / NEEDED.folder_name / TEXT).write_text("Needed")
    code, out, err = understudy("store", "check", "--out", runs)
    assert (code, out) == (1, "1 of 2 finished stages are as they were written\n")
    assert re.search(rf"{NEEDED.folder_name}.*is damaged.*delete the folder .*run the recipe again", err)


def test_a_folder_without_a_store_is_refused(understudy: Command, tmp_path: Path) -> None:
    """The message says what to give."""
    code, _, err = understudy("store", "ls", "--out", tmp_path)

    assert code == 1
    assert "--out" in err


def test_sizes_and_ages_are_short() -> None:
    """Three digits and a unit."""
    assert [size(count) for count in (0, 999, 1000, 12345, 9.99e8, 2e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 kB",
        "999 MB",
        "2000 TB",
    ]
    assert re.fullmatch(r"\d{5} days", age(0.0))


def test_the_checks_of_a_run_are_needed_by_it(runs: Path) -> None:
    """They are in its record, next to the stages that have a label."""
    (runs / "done").mkdir()
    write_checked(
        runs / "done" / STAGES, asdict(RunRecord((("text", "text-1"),), "text-1", "../store", (), "0", ("check-2",)))
    )
    assert needed_by_runs(runs)["done"].stages == {"text-1", "check-2"}


def test_a_damaged_record_has_one_explanation(understudy: Command, runs: Path) -> None:
    """Whichever command reads it."""
    (runs / "done").mkdir()
    (runs / "done" / STAGES).write_text("{")
    messages = {understudy(*words)[2] for words in (("store", "ls", "--out", runs), ("evaluate", runs / "done"))}
    assert len(messages) == 1
    assert "the record of the run in" in (message := messages.pop())
    assert "run the recipe again, which writes both again" in message
