"""Making one stage: what it leaves, what an interrupted attempt leaves, and what is refused."""

import dataclasses
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, cast

import pytest
from tests.store.toy_stages import TEXT, Refused, Text, TextFacts, Word, Words

from understudy.errors import DataError, StoreError
from understudy.executors.local import Local
from understudy.store import Content, Stage, Store, WorkerContext
from understudy.store.disk import checksum, write_json
from understudy.store.manifest import MANIFEST, read_checked, write_checked
from understudy.store.stage import FinishedStage
from understudy.store.store import make


@dataclass(frozen=True)
class HalfFacts:
    """What an attempt found in its folder."""

    found: tuple[str, ...]
    seconds: float = 0.0


KILLED = [True]
"""Whether the next attempt is interrupted."""


@dataclass(frozen=True)
class Half(Stage[HalfFacts]):
    """Is interrupted half way, and lists what is there when it begins."""

    seconds: float = 0.0
    name: ClassVar[str] = "half"

    def run(self, folder: Path, context: WorkerContext) -> HalfFacts:
        """Leaves a finished file and half files."""
        found = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
        (folder / "done.txt").write_text("done")
        (folder / ".half.txt.partial").write_text("ha")
        (folder / ".half" / ".below").mkdir(parents=True, exist_ok=True)
        (folder / ".half" / ".below" / "x").write_text("x")
        if KILLED[0]:
            raise KeyboardInterrupt
        (folder / ".half.txt.partial").unlink()
        return HalfFacts(found, self.seconds)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the next attempt of `Half` is interrupted: yes, until a test changes it."""
    state = [True]
    monkeypatch.setattr(f"{__name__}.KILLED", state)
    return state


def folders(store: Store) -> list[str]:
    """The folders of the store, with those of unfinished stages."""
    return sorted(path.name for path in store.root.iterdir() if path.is_dir())


def test_a_stage_is_made_once(store: Store, context: WorkerContext) -> None:
    """The second time it is found, also by a store that was opened anew; the bytes stay."""
    stage = Text("a")
    first = make(stage, context)
    before = (store.folder(stage) / MANIFEST).read_bytes()

    assert (first, make(stage, context)) == ("made", "found")
    assert make(stage, dataclasses.replace(context, store=Store(store.root))) == "found"
    assert (store.folder(stage) / MANIFEST).read_bytes() == before
    assert folders(store) == [stage.folder_name]
    assert (context.folder(stage) / TEXT).read_text() == "a"


def test_the_manifest_is_complete(store: Store, context: WorkerContext) -> None:
    """It names the stage, its fields and inputs by their paths, the files with their checksums, and the versions."""
    before = Text("a")
    stage = Text("b", (before,))
    store.get(stage, Local(), context)
    manifest = json.loads((store.folder(stage) / MANIFEST).read_text())

    assert (manifest["stage"], manifest["key"], manifest["version"]) == ("text", stage.key, 1)
    assert manifest["fields"] == {"text": "b", "inputs": [{"stage": before.key}]}
    assert manifest["inputs"] == {"inputs.0": before.folder_name}
    assert manifest["shards"] == []
    assert manifest["files"] == {TEXT: checksum(store.folder(stage) / TEXT)}
    assert manifest["versions"]["torch"] == version("torch")
    assert manifest["seconds"] >= 0
    assert store.manifest(stage).files == manifest["files"]


def test_the_manifest_lists_the_shards(store: Store, context: WorkerContext) -> None:
    """By their folders; nothing of them is copied."""
    stage = Words(Text("a bc"))
    store.get(stage, Local(), context)

    assert store.manifest(stage).shards == tuple(shard.folder_name for shard in stage.shards(context))
    assert [path.name for path in store.folder(stage).iterdir()] == [MANIFEST]


def test_facts_come_back_as_the_record_they_were(store: Store, context: WorkerContext) -> None:
    """Tuples, numbers to the last digit and whole numbers as keys included, although the file is JSON."""
    stage = Text("a bc")
    make(stage, context)

    facts = context.facts(stage)
    assert facts == TextFacts(4, ("a", "bc"), 1 / 3, {1: ("a",), 2: ("bc",)})
    assert type(facts.words) is tuple


@pytest.mark.parametrize("damage", [{"words": 3}, {"characters": "many"}, {"characters": None}])
def test_damaged_facts_are_refused(store: Store, context: WorkerContext, damage: dict[str, object]) -> None:
    """The message names the folder and the way out."""
    stage = Text("a")
    make(stage, context)
    path = store.folder(stage) / MANIFEST
    manifest = read_checked(path)
    write_checked(path, manifest | {"facts": {**cast(dict[str, object], manifest["facts"]), **damage}})

    with pytest.raises(StoreError, match=rf"{stage.folder_name} is damaged.*delete the folder and run"):
        store.facts(stage)


def test_a_manifest_of_another_form_is_refused(store: Store, context: WorkerContext) -> None:
    """As one that an earlier version wrote."""
    stage = Text("a")
    make(stage, context)
    write_json(store.folder(stage) / MANIFEST, {"stage": "text", "settings": {}})

    with pytest.raises(StoreError, match=rf"{stage.folder_name} is damaged or of another version.*delete the folder"):
        make(stage, context)


def test_the_time_of_all_attempts_counts(store: Store, context: WorkerContext, killed: list[bool]) -> None:
    """A stage that resumed measures its own seconds; they are more than the last attempt's."""
    killed[0] = False
    stage = Half(seconds=7200.5)
    make(stage, context)

    assert store.manifest(stage).seconds == 7200.5


def test_the_next_attempt_gets_the_files_of_an_interrupted_one(
    store: Store, context: WorkerContext, killed: list[bool]
) -> None:
    """What was written completely is there for the next attempt; half files, which are hidden, are not."""
    stage = Half()
    with pytest.raises(KeyboardInterrupt):
        make(stage, context)
    left = folders(store)
    killed[0] = False

    assert make(stage, context) == "made"
    assert left == [f"{stage.folder_name}.partial"]
    assert context.facts(stage).found == ("done.txt",)
    assert folders(store) == [stage.folder_name]


def test_the_manifest_is_written_last(store: Store, context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill before or after the manifest leaves no finished stage, however complete the files are; the next attempt
    lists the files without the manifest.
    """
    stage = Text("a")
    for last_step in ("write_manifest", "publish"):
        with monkeypatch.context() as patched:
            patched.setattr(f"understudy.store.store.{last_step}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                make(stage, context)
        assert not store.finished(stage)
        assert folders(store) == [f"{stage.folder_name}.partial"]

    assert make(stage, context) == "made"
    assert list(store.manifest(stage).files) == [TEXT]


def interrupted(*arguments: object) -> None:
    """The process is interrupted here."""
    raise KeyboardInterrupt


def test_a_stage_that_lost_a_file_is_refused(store: Store, context: WorkerContext) -> None:
    """The message names the folder, the file and the way out."""
    stage = Text("a")
    make(stage, context)
    (store.folder(stage) / TEXT).unlink()

    with pytest.raises(StoreError, match=rf"lacks 1 of its 1 files \(first: {TEXT}\); delete the folder"):
        store.get_all([stage], Local(), context)


def test_a_folder_without_a_manifest_is_refused(store: Store, context: WorkerContext) -> None:
    """It is not overwritten: the message names it and the way out."""
    stage = Text("a")
    make(stage, context)
    (store.folder(stage) / MANIFEST).unlink()

    assert not store.finished(stage)
    with pytest.raises(StoreError, match=rf"{stage.folder_name} has no manifest.*delete the folder"):
        make(stage, context)


def test_facts_of_a_stage_that_is_missing_are_refused(store: Store) -> None:
    """The message names the file that is missing."""
    with pytest.raises(StoreError, match=rf"{Text('a').folder_name}/manifest\.json is missing"):
        store.facts(Text("a"))


def test_a_finished_stage_is_read_as_it_lies_there(store: Store, context: WorkerContext) -> None:
    """By the name of its folder; one that was deleted cannot be made, and the message says so."""
    text = Text("a")
    make(text, context)
    finished = FinishedStage(text.folder_name)
    last = Text("b", (finished,))

    assert store.get_all([finished], Local(), context) == {text.key: "found"}
    assert context.facts(finished)["characters"] == 1
    assert store.get(last, Local(), context).words == ("a", "b")
    assert store.manifest(last).inputs == {"inputs.0": text.folder_name}
    with pytest.raises(StoreError, match=rf"text-0123 is not in {store.root}: it was deleted; run"):
        store.get(FinishedStage("text-0123"), Local(), context)


def test_content_lies_at_an_absolute_place_or_in_the_store(
    store: Store, context: WorkerContext, tmp_path: Path
) -> None:
    """Equal content at another place gives the stage that was made before."""
    (tmp_path / "words.txt").write_text("a bc")
    digest = checksum(tmp_path / "words.txt")

    assert store.get(Word(Content(digest, str(tmp_path / "words.txt")), 1), Local(), context).letters == 2
    (store.root / "copy.txt").write_text("a bc")
    outcomes = store.get_all([Word(Content(digest, "copy.txt"), 1)], Local(), context)
    assert list(outcomes.values()) == ["found"]
    assert store.get(Word(Content(digest, "copy.txt"), 0), Local(), context).letters == 1


def test_the_error_of_a_stage_is_raised_by_get(store: Store, context: WorkerContext) -> None:
    """The stage's own, or that of a stage it needs."""
    with pytest.raises(DataError, match="line 7"):
        store.get(Text("a", (Refused(),)), Local(), context)


def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path, context: WorkerContext) -> None:
    """As where a file has its name."""
    (tmp_path / "file").touch()
    blocked = dataclasses.replace(context, store=Store(tmp_path / "file"))

    with pytest.raises(StoreError, match=r"file cannot be made .*--out"):
        make(Text("a"), blocked)
