"""`Store.get_all`: which stages are made, in which order, and what failures and deleted stages mean for the others."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.toy_stages import (
    AnyStage,
    Bug,
    Refused,
    Text,
    TwoPartError,
    Where,
    WhereCalled,
    Word,
    WordFacts,
    Words,
)

from understudy.errors import DataError, StoreError
from understudy.executors.local import Local
from understudy.store import Content, Stage, Store, WorkerContext
from understudy.store.manifest import read_checked, write_checked
from understudy.store.store import Outcome, failure_of

LOCAL = Local()


def made(outcomes: dict[str, Outcome]) -> list[str]:
    """The keys of the stages that were made, in order."""
    return [key for key, outcome in outcomes.items() if outcome == "made"]


def test_a_stage_is_made_after_what_it_needs(store: Store, context: WorkerContext) -> None:
    """Inputs in the order of the fields, each once, however many need it."""
    first = Text("a")
    left, right = Text("b", (first,)), Text("c", (first,))
    last = Text("d", (left, right))
    outcomes = store.get_all([last, left], LOCAL, context)

    assert made(outcomes) == [first.key, left.key, right.key, last.key]
    assert context.facts(last).words == tuple("abacd")
    assert store.get_all([last, left], LOCAL, context) == {last.key: "found", left.key: "found"}


def test_the_observer_sees_each_stage_that_was_made_or_failed(store: Store, context: WorkerContext) -> None:
    """As soon as it is done; what was found is not reported."""
    seen: list[tuple[AnyStage, object]] = []
    found, new, failing = Text("a"), Text("b"), Refused()
    store.get(found, LOCAL, context)
    outcomes = store.get_all(
        [found, failing, new], LOCAL, context, observe=lambda stage, outcome: seen.append((stage, outcome))
    )

    assert seen == [(failing, outcomes[failing.key]), (new, "made")]
    assert outcomes[found.key] == "found"


def test_what_only_led_to_a_finished_stage_is_not_needed(store: Store, context: WorkerContext) -> None:
    """It may be deleted: the last stage is looked at first, and nothing is made again."""
    first = Text("a")
    middle = Text("b", (first,))
    last = Text("c", (middle,))
    store.get(last, LOCAL, context)
    for stage in (first, middle):
        shutil.rmtree(store.folder(stage))

    assert store.get_all([last], LOCAL, context) == {last.key: "found"}
    other = Text("d", (middle,))
    assert made(store.get_all([last, other], LOCAL, context)) == [first.key, middle.key, other.key]


def test_a_stage_without_one_of_its_shards_is_not_finished(store: Store, context: WorkerContext) -> None:
    """The shard alone is made again; the stage keeps its own files."""
    stage = Words(Text("a bc def"))
    assert store.get(stage, LOCAL, context).letters == 6
    deleted = stage.shards(context)[1]
    shutil.rmtree(store.folder(deleted))
    before = (store.folder(stage) / "manifest.json").read_bytes()

    assert not store.finished(stage)
    assert store.get_all([stage], LOCAL, context) == {deleted.key: "made", stage.key: "found"}
    assert store.finished(stage)
    assert (store.folder(stage) / "manifest.json").read_bytes() == before


def test_more_inputs_add_shards_and_keep_the_others(store: Store, context: WorkerContext, tmp_path: Path) -> None:
    """A shard is found by its own key: the stage that lists it is another, the shard is not made again."""
    file = Content("of both", str(tmp_path / "words.txt"))
    (tmp_path / "words.txt").write_text("a bc def")
    words = [Word(file, index) for index in range(3)]
    few, many = Rows(tuple(words[:2])), Rows(tuple(words))
    store.get(few, LOCAL, context)

    assert made(store.get_all([many], LOCAL, context)) == [words[2].key, many.key]
    assert context.facts(many).letters == 6


def test_shards_that_the_stage_no_longer_has_are_reported(store: Store, context: WorkerContext) -> None:
    """A manifest that lists a missing shard which cannot be made any more is refused with the way out."""
    stage = Words(Text("a bc"))
    store.get(stage, LOCAL, context)
    path = store.folder(stage) / "manifest.json"
    write_checked(path, read_checked(path) | {"shards": ["word-of-an-earlier-version"]})

    with pytest.raises(StoreError, match=rf"{stage.folder_name} .*shards that are missing.*; delete the folder"):
        store.get(stage, LOCAL, context)


def test_a_failure_stops_the_stages_that_need_it_and_no_others(store: Store, context: WorkerContext) -> None:
    """The others are made; those that were stopped have no outcome of their own, and the reason is found."""
    failing, fine = Refused(), Text("a")
    stopped = Text("b", (fine, failing))
    last = Text("c", (stopped,))
    outcomes = store.get_all([last, Text("d", (fine,)), Bug()], LOCAL, context)

    assert made(outcomes) == [fine.key, Text("d", (fine,)).key]
    assert isinstance(outcomes[failing.key], DataError)
    assert isinstance(outcomes[Bug().key], TwoPartError)
    assert outcomes.keys().isdisjoint({stopped.key, last.key})
    assert failure_of(last, outcomes, context) is outcomes[failing.key]
    assert failure_of(failing, outcomes, context) is outcomes[failing.key]
    assert failure_of(fine, outcomes, context) is None


def test_the_failure_of_a_shard_is_that_of_its_stage(store: Store, context: WorkerContext) -> None:
    """Shards are looked at when the inputs are finished."""
    stage = Rows((Word(Content("of nothing", "missing.txt"), 0),))
    last = Text("a", (stage,))
    outcomes = store.get_all([last], LOCAL, context)

    assert isinstance(failure_of(last, outcomes, context), StoreError)
    assert failure_of(Text("never wanted"), outcomes, context) is None


def test_what_failed_is_tried_again_in_the_next_run(store: Store, context: WorkerContext) -> None:
    """A failure is not stored."""
    Path(store.root).mkdir(parents=True)
    stage = Word(Content("a word", "word.txt"), 0)

    assert isinstance(store.get_all([stage], LOCAL, context)[stage.key], StoreError)
    (store.root / "word.txt").write_text("a")
    assert store.get_all([stage], LOCAL, context) == {stage.key: "made"}


def test_what_is_kept_open_is_opened_once(store: Store, context: WorkerContext, opened: list[str]) -> None:
    """The next stage with the same engine opens nothing; another engine closes the first; all are closed at the end."""
    stages = [Where("a", (Text("1"),)), Where("a", (Text("2"),)), WhereCalled("b")]
    outcomes = store.get_all(stages, LOCAL, context)

    assert list(outcomes.values()).count("made") == 5
    assert opened == ["b", "b", "a", "a"]  # stages of the caller come first
    assert context.facts(stages[0]).opened == context.facts(stages[1]).opened


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were opened or closed in this process."""
    events: list[str] = []
    for name in ("OPENED", "CLOSED"):
        monkeypatch.setattr(f"tests.store.toy_stages.{name}", events)
    return events


@dataclass(frozen=True)
class Rows(Stage[WordFacts]):
    """Words that are named beforehand, as shards."""

    words: tuple[Word, ...]
    name: ClassVar[str] = "rows"

    def shards(self, context: WorkerContext) -> Sequence[Word]:
        """The words."""
        return self.words

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Adds the letters."""
        return WordFacts(sum(context.facts(word).letters for word in self.words))
