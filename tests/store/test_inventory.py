"""What a store holds, who needs it, and deleting the rest."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.toy_stages import TEXT, AnyStage, Text, WordFacts, Words

from understudy.executors.local import Local
from understudy.store import Stage, Store, WorkerContext
from understudy.store.inventory import Need, StoredStage, damages, delete_stages, is_older, stored_stages
from understudy.store.locks import hold


@dataclass(frozen=True)
class Counted(Stage[WordFacts]):
    """Repeats the facts of another stage."""

    words: Words
    name: ClassVar[str] = "counted"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Writes nothing."""
        return context.facts(self.words)


FIRST, OTHER = Text("a bc"), Text("other")
WORDS = Words(FIRST)
LAST = Counted(WORDS)


@pytest.fixture
def filled(store: Store, context: WorkerContext) -> Store:
    """A store with a text, its two words, a stage that reads them, and another text."""
    stages: tuple[AnyStage, ...] = (LAST, OTHER)
    for stage in stages:
        store.get(stage, Local(), context)
    return store


def users(store: Store, needed: dict[str, Need]) -> dict[str, tuple[str, ...]]:
    """The stages that somebody needs, and who."""
    return {stage.folder.name: stage.needed_by for stage in stored_stages(store.root, needed) if stage.needed_by}


def test_a_run_needs_what_its_stages_were_made_from(filled: Store) -> None:
    """Inputs and shards, however deep; what nobody names belongs to no run."""
    shards = filled.manifest(WORDS).shards
    needed = {"run": Need({LAST.folder_name}), "study": Need({FIRST.folder_name, "text-that-was-deleted"})}

    assert users(filled, needed) == {
        FIRST.folder_name: ("run", "study"),
        **dict.fromkeys([WORDS.folder_name, LAST.folder_name, *shards], ("run",)),
    }


def test_an_interrupted_run_needs_the_shards_that_no_manifest_names_yet(filled: Store) -> None:
    """What was made of its stages stays; of a finished run it does not."""
    inputs = {LAST.folder_name, FIRST.folder_name, WORDS.folder_name}

    assert WORDS.folder_name in users(filled, {"run": Need({FIRST.folder_name}, interrupted=True)})
    assert LAST.folder_name in users(filled, {"run": Need(inputs - {LAST.folder_name}, interrupted=True)})
    assert LAST.folder_name not in users(filled, {"run": Need(inputs - {LAST.folder_name})})


def test_size_age_and_state_are_those_of_the_files(filled: Store) -> None:
    """The largest stage comes first; an unfinished one is needed by whom its finished form is."""
    partial = filled.root / "text-0123456789abcdef.partial"
    partial.mkdir()
    (partial / "half").write_bytes(bytes(10**6))
    old = time.time() - 3 * 86400
    os.utime(partial, (old, old))
    stages = stored_stages(filled.root, {"run": Need({"text-0123456789abcdef"})})

    assert (stages[0].folder, stages[0].bytes, stages[0].needed_by) == (partial, 10**6, ("run",))
    assert not stages[0].finished
    assert is_older(stages[0], 2.9)
    assert not is_older(stages[0], 3.1)
    assert all(stage.finished and is_older(stage, 0) and not is_older(stage, 1) for stage in stages[1:])
    assert {stage.folder.name for stage in stages[1:]} == {
        stage.folder_name for stage in (FIRST, OTHER, WORDS, LAST)
    } | set(filled.manifest(WORDS).shards)


def stage_of(store: Store, stage: AnyStage) -> StoredStage:
    """The stage as the inventory has it."""
    return next(one for one in stored_stages(store.root, {}) if one.folder.name == stage.folder_name)


def test_deleted_stages_are_gone_and_can_be_made_again(filled: Store, context: WorkerContext) -> None:
    """What an interrupted deletion left is deleted too."""
    (filled.root / ".deleted-text-1" / "below").mkdir(parents=True)
    gone = list(delete_stages([stage_of(filled, OTHER)], filled.root))

    assert [stage.folder.name for stage in gone] == [OTHER.folder_name]
    assert not filled.finished(OTHER)
    assert filled.finished(LAST)
    assert not list(filled.root.glob(".deleted-*"))
    assert filled.get(OTHER, Local(), context).characters == 5


def test_a_stage_that_a_process_makes_is_not_deleted(filled: Store) -> None:
    """Its lock is held."""
    stage = stage_of(filled, OTHER)
    with hold(filled.root / f".{OTHER.folder_name}.lock", wait=False, making=stage.folder):
        assert list(delete_stages([stage], filled.root)) == []

    assert filled.finished(OTHER)


def test_damages_are_listed_by_stage(filled: Store) -> None:
    """One sentence each, whatever else is damaged; None where a stage is as it was written."""
    (filled.folder(OTHER) / TEXT).write_text("othe")
    (filled.folder(LAST) / "manifest.json").unlink()
    shard = filled.manifest(WORDS).shards[0]
    (filled.root / shard / "word.txt").write_text("b")
    found = damages(filled.root)

    assert "word.txt is damaged" in str(found.pop(shard))  # and not the stage of which it is a shard
    assert "is damaged" in str(found.pop(OTHER.folder_name))
    assert "manifest.json is missing" in str(found.pop(LAST.folder_name))
    assert set(found.values()) == {None}
    assert FIRST.folder_name in found
