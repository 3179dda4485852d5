import errno
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from understudy.errors import PoolError, StoreError
from understudy.store import Finished, Store
from understudy.store.disk import checksum
from understudy.store.stages import FORMAT, MANIFEST, content_key, open_stage


class Clerk:
    """Counts the lines it is given to write, and writes them."""

    def __init__(self, *lines: str, facts: Mapping[str, object] | None = None) -> None:
        self.lines, self.facts, self.calls = lines, facts or {}, 0

    def __call__(self, folder: Path) -> Mapping[str, object]:
        """A stage's work."""
        self.calls += 1
        (folder / "below").mkdir(exist_ok=True)
        (folder / "below" / "lines.txt").write_text("\n".join(self.lines))
        return self.facts


def make(store: Store, clerk: Clerk, **changes: object) -> Finished:
    """A stage of the clerk's."""
    asked = {"name": "lines", "settings": {"rate": 0.1}, "inputs": {}, **changes}
    return store.stage(work=clerk, **asked)  # type: ignore[arg-type]


def test_work_is_done_once(store: Store) -> None:
    """The same stage asked for again is found, with the same receipt."""
    clerk = Clerk("a")
    made, found = make(store, clerk), make(store, clerk)

    assert clerk.calls == 1
    assert (made.reused, found.reused) == (False, True)
    assert (made.folder, made.manifest, made.key) == (found.folder, found.manifest, found.key)
    assert (made.folder / "below" / "lines.txt").read_text() == "a"


def test_the_key_is_made_of_all_that_changes_the_result(store: Store) -> None:
    """Another name, another setting, another stage that is read, another label of it: another key."""
    clerk = Clerk("a")
    one, other = make(store, clerk), make(store, clerk, settings={"rate": 0.2})
    keys = [
        one.key,
        other.key,
        make(store, clerk, name="rows").key,
        make(store, clerk, inputs={"before": one}).key,
        make(store, clerk, inputs={"before": other}).key,
        make(store, clerk, inputs={"after": one}).key,
    ]

    assert len(set(keys)) == clerk.calls == len(keys)


def test_a_key_does_not_depend_on_the_order_of_settings() -> None:
    """Equal plain data, equal keys, at any depth; a tuple is a list."""
    assert content_key({"a": 1, "b": {"c": (2, 3), "d": None}}) == content_key({"b": {"d": None, "c": [2, 3]}, "a": 1})
    assert content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})
    assert len(content_key({})) == 16


def test_the_manifest_is_a_receipt(store: Store) -> None:
    """It names what was asked, what was read, what lies there, and which versions made it."""
    before = make(store, Clerk("a"))
    made = make(store, Clerk("b"), name="rows", settings={"k": 1}, inputs={"before": before})
    manifest = json.loads((made.folder / MANIFEST).read_text())

    assert (manifest["stage"], manifest["settings"], manifest["inputs"]) == ("rows", {"k": 1}, {"before": before.key})
    assert manifest["files"] == {"below/lines.txt": checksum(made.folder / "below" / "lines.txt")}
    assert manifest["versions"]["torch"] == version("torch")
    assert manifest["seconds"] >= 0


def test_a_store_knows_what_it_made(store: Store) -> None:
    """And not what another process had made before."""
    made, other = make(store, Clerk("a")), Store(store.root)
    make(other, Clerk("a"))

    assert store.made == {made.key}
    assert other.made == set()


def test_work_that_went_on_after_a_kill_took_as_long_as_it_says(store: Store) -> None:
    """Of its own time, of all attempts, it knows more than the last attempt's clock."""
    assert make(store, Clerk("a", facts={"seconds": 7200.5})).manifest.seconds == 7200.5


def test_facts_are_the_same_now_and_later(store: Store) -> None:
    """Who makes a stage reads the facts that who finds it reads: JSON's types, numbers to the last digit."""
    facts = {"pair": (1, 0.1 + 0.2), "by_round": {3: "x"}, "none": None}
    made = make(store, Clerk(facts=facts))

    assert made.manifest.facts == {"pair": [1, 0.1 + 0.2], "by_round": {"3": "x"}, "none": None}
    assert make(store, Clerk()).manifest.facts == made.manifest.facts


def test_what_a_killed_attempt_left_is_handed_on(store: Store) -> None:
    """The next attempt goes on in the same folder, and nothing is final before it is done."""

    def killed(folder: Path) -> Mapping[str, object]:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    def going_on(folder: Path) -> Mapping[str, object]:
        return {"found": (folder / "half.txt").read_text()}

    with pytest.raises(KeyboardInterrupt):
        store.stage("lines", settings={}, inputs={}, work=killed)
    left = {path.name for path in store.root.iterdir() if path.is_dir()}
    made = store.stage("lines", settings={}, inputs={}, work=going_on)

    assert left == {f"{made.folder.name}.partial"}
    assert made.manifest.facts == {"found": "half"}
    assert [path for path in store.root.iterdir() if path.is_dir()] == [made.folder]


def test_the_manifest_is_written_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill before the manifest leaves no stage, however complete the files are."""

    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("understudy.store.stages.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            make(store, Clerk("a"))
    again = Clerk("a")

    assert not make(store, again).reused
    assert again.calls == 1


def test_no_lock_stays_behind(store: Store) -> None:
    """What `ls -a` shows is finished stages."""
    made = make(store, Clerk("a"))

    assert list(store.root.iterdir()) == [made.folder]


def test_a_stage_in_the_making_is_left_alone(store: Store) -> None:
    """While another process holds the lock, the work is not begun a second time."""
    key = content_key({"stage": "lines", "settings": {}, "inputs": {}, "format": FORMAT})
    clerk = Clerk("a")
    store.root.mkdir(parents=True)
    with (store.root / f".lines-{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=rf"another process is making lines-{key} in .*; wait for it .* --out"):
            make(store, clerk, settings={})
    assert clerk.calls == 0

    assert not make(store, clerk, settings={}).reused


def test_a_stage_that_another_process_just_finished_is_reused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes may look at the same moment; who comes second finds the work done."""
    first, second = Clerk("a"), Clerk("b")

    @contextmanager
    def after_the_first(path: Path) -> Iterator[None]:
        patched.undo()
        make(store, first)
        yield

    with monkeypatch.context() as patched:
        patched.setattr("understudy.store.stages._alone", after_the_first)
        found = make(store, second)

    assert found.reused
    assert (first.calls, second.calls) == (1, 0)
    assert [path for path in store.root.iterdir() if path.is_dir()] == [found.folder]


def chained(error: Exception, before: Exception) -> Exception:
    """An error that was raised while another one was handled."""
    error.__context__ = before
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        chained(RuntimeError("unexpected pos 704 vs 598"), OSError(errno.ENOSPC, "No space left on device")),
        OSError(errno.EDQUOT, "Quota exceeded"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_in_a_sentence(store: Store, error: Exception) -> None:
    """Whoever noticed it; what is finished stays, and the same command goes on."""

    def work(folder: Path) -> Mapping[str, object]:
        raise error

    with pytest.raises(StoreError, match=r"the disk is full: \d+ MB are left for .*store\. Free some space and give"):
        store.stage("lines", settings={}, inputs={}, work=work)

    assert not make(store, Clerk("a")).reused


def test_a_sentence_is_not_replaced_by_another(store: Store) -> None:
    """Who already said what to do about a full disk, the pool for instance, is heard."""

    def work(folder: Path) -> Mapping[str, object]:
        raise chained(PoolError("disk full while writing"), OSError(errno.ENOSPC, "No space left on device"))

    with pytest.raises(PoolError, match="disk full while writing"):
        store.stage("lines", settings={}, inputs={}, work=work)


def test_other_errors_are_not_taken_for_a_full_disk(store: Store) -> None:
    """A mistake of ours keeps its own name and place."""

    def work(folder: Path) -> Mapping[str, object]:
        raise OSError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        store.stage("lines", settings={}, inputs={}, work=work)


def test_a_stage_that_lost_a_file_is_refused(store: Store) -> None:
    """The message names the folder, the file and the way out."""
    made = make(store, Clerk("a"))
    (made.folder / "below" / "lines.txt").unlink()

    with pytest.raises(StoreError, match=r"lacks 1 of its 1 files \(first: below/lines\.txt\); delete the folder"):
        make(store, Clerk("a"))


def test_a_folder_without_a_manifest_is_no_stage(tmp_path: Path) -> None:
    """A folder with the right name alone proves nothing."""
    with pytest.raises(StoreError, match=r"manifest\.json is missing; was the run finished"):
        open_stage(tmp_path)
