"""Several processes on one store; threads stand for them, for the system's locks tell files opened twice apart."""

import fcntl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import IO

import pytest

from understudy.store import Store
from understudy.store.stages import claim

Flock = Callable[[IO[str], int], None]


def test_a_stage_in_the_making_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second gets what the first made, and makes nothing."""
    store, begun, go_on, flock = Store(tmp_path, wait=True), Event(), Event(), fcntl.flock

    def first(folder: Path) -> Mapping[str, object]:
        begun.set()
        assert go_on.wait(timeout=60)
        return {"made": "by the first"}

    def second(folder: Path) -> Mapping[str, object]:
        return {"made": "by the second"}

    def told(file: IO[str], how: int) -> None:
        if begun.is_set():
            go_on.set()  # the second is about to wait: only now may the first finish
        flock(file, how)

    monkeypatch.setattr("understudy.store.stages.fcntl.flock", told)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(store.stage, "lines", settings={}, inputs={}, work=first)
        assert begun.wait(timeout=60)
        found = store.stage("lines", settings={}, inputs={}, work=second)

    assert found.manifest.facts == making.result().manifest.facts == {"made": "by the first"}
    assert (making.result().reused, found.reused) == (False, True)
    assert list(tmp_path.iterdir()) == [found.folder]


def test_a_stage_that_failed_elsewhere_is_made_by_who_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock goes on to the next, with what the first left behind."""
    store, begun, go_on, flock = Store(tmp_path, wait=True), Event(), Event(), fcntl.flock

    def first(folder: Path) -> Mapping[str, object]:
        (folder / "half.txt").write_text("half")
        begun.set()
        assert go_on.wait(timeout=60)
        raise KeyboardInterrupt

    def told(file: IO[str], how: int) -> None:
        if begun.is_set():
            go_on.set()
        flock(file, how)

    monkeypatch.setattr("understudy.store.stages.fcntl.flock", told)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(store.stage, "lines", settings={}, inputs={}, work=first)
        assert begun.wait(timeout=60)
        made = store.stage(
            "lines", settings={}, inputs={}, work=lambda folder: {"found": (folder / "half.txt").read_text()}
        )

    assert isinstance(making.exception(), KeyboardInterrupt)
    assert made.manifest.facts == {"found": "half"}
    assert list(tmp_path.iterdir()) == [made.folder]


def test_a_claim_is_held_by_one(tmp_path: Path) -> None:
    """Another one is told so at once; when the first is done the file is gone and the next may have it."""
    path = tmp_path / "lock"
    with claim(path) as first, claim(path) as second:
        assert (first, second) == (True, False)
        assert path.exists()
    assert not path.exists()
    with claim(path) as third:
        assert third


def test_a_lock_on_a_file_that_was_taken_away_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited on the file that its holder then removed claims the new one, so that others are kept out."""
    path, calls, flock = tmp_path / "lock", [0], fcntl.flock

    def removed_meanwhile(file: IO[str], how: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            path.unlink()
        flock(file, how)

    monkeypatch.setattr("understudy.store.stages.fcntl.flock", removed_meanwhile)
    with claim(path, wait=True), claim(path) as other:
        assert not other
        assert calls[0] == 3
