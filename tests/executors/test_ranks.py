"""Stages over several ranks: who makes what, and how the failure of one rank ends all.

The ranks are processes that exchange messages through files, in place of the store that torchrun provides.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.toy_stages import Bug, Refused, Text, TextFacts, Words

from understudy.cli.signals import stop_after
from understudy.errors import DataError
from understudy.executors._ranks import (
    ALARM_LATER_S,
    FAILED,
    SAID,
    OverRanks,
    ended_together,
    leave_signals_to_first,
    make_what_is_sent,
)
from understudy.executors.local import Local
from understudy.progress import NoProgress
from understudy.ranks import Ranks
from understudy.store import Stage, Store, WorkerContext
from understudy.store.locks import hold
from understudy.store.store import AnyStage, Outcome

SPAWN = get_context("spawn")
SIZE = 2


@dataclass(frozen=True)
class Files:
    """Messages as files; a rename publishes each."""

    folder: Path

    def set(self, key: str, value: bytes, /) -> None:
        """Writes a value."""
        partial = self.folder / f"{key.replace('/', '-')}.partial"
        partial.write_bytes(value)
        partial.rename(partial.with_suffix(".value"))

    def get(self, key: str, /) -> bytes:
        """The value of a key that is there."""
        return self._path(key).read_bytes()

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there."""
        return all(self._path(key).exists() for key in keys)

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a number, by one process at a time."""
        with hold(self.folder / "lock", wait=True, making=self.folder):
            total = amount + (int(self.get(key)) if self.check([key]) else 0)
            self.set(key, str(total).encode())
        return total

    def _path(self, key: str) -> Path:
        return self.folder / f"{key.replace('/', '-')}.value"


@dataclass(frozen=True)
class OnAll(Stage[TextFacts]):
    """A stage that all ranks make: each writes its number; one of them may fail."""

    inputs: tuple[AnyStage, ...] = ()
    fails: int | None = None
    name: ClassVar[str] = "on_all"
    on_all_ranks: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> TextFacts:
        """Rank 0 waits for the file of the other rank, as in a step of a training."""
        ranks = context.begin_on_all_ranks(folder)
        if ranks.rank == self.fails:
            raise DataError(f"rank {ranks.rank} has no data; give it some")
        if not ranks.is_first and self.fails is None:
            (folder / "rank-1").write_text("")
        while ranks.is_first and ranks.size > 1 and not (folder / "rank-1").exists():
            os.sched_yield()
        if not ranks.is_first and self.fails is not None:
            signal.pause()  # for rank 0, which has failed
        return TextFacts(ranks.size, (), 0.0, {})


def other_rank(folder: Path, root: Path) -> None:
    """The process of rank 1; its exit code is that of the command."""
    messages = Files(folder)
    try:
        with ended_together(messages):
            make_what_is_sent(Ranks(1, SIZE), messages, WorkerContext(Store(root), NoProgress()))
    except DataError as error:
        (folder / "sentence").write_text(str(error))
        sys.exit(1)


def first_rank(folder: Path, root: Path, wanted: Sequence[AnyStage]) -> None:
    """The process of rank 0, where its own end is to be seen."""
    messages, store = Files(folder), Store(root)
    executor = OverRanks(Ranks(0, SIZE), messages)
    try:
        with ended_together(messages):
            store.get_all(wanted, executor, WorkerContext(store, NoProgress()))
            executor.close()
    except DataError as error:
        (folder / "sentence").write_text(str(error))
        sys.exit(1)


def start(target: object, *arguments: object) -> BaseProcess:
    """A process that ends with the test."""
    process = SPAWN.Process(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # a function
    process.start()
    return process


def made(store: Store, folder: Path, wanted: Sequence[AnyStage]) -> tuple[dict[str, Outcome], int | None]:
    """What became of the stages with this process as rank 0, and the exit code of rank 1."""
    folder.mkdir()
    other = start(other_rank, folder, store.root)
    executor = OverRanks(Ranks(0, SIZE), Files(folder))
    outcomes = store.get_all(wanted, executor, WorkerContext(store, NoProgress()))
    executor.close()
    other.join(60)
    return outcomes, other.exitcode


def test_ranks_share_the_stages(store: Store, tmp_path: Path) -> None:
    """Shards and others are made by both ranks, the same as by one; a stage of all ranks is begun on both."""
    first = Text("a bc d e")
    wanted: list[AnyStage] = [OnAll((Words(first),)), *(Text(word, (first,)) for word in "fghi")]
    outcomes, exit_code = made(store, tmp_path / "messages", wanted)
    alone = Store(tmp_path / "alone")
    expected = alone.get_all(wanted, Local(), WorkerContext(alone, NoProgress()))

    assert outcomes == expected
    assert set(outcomes.values()) == {"made"}
    assert exit_code == 0
    assert len(list((tmp_path / "messages").glob("outcome-1-*"))) > 2
    assert store.facts(wanted[0]).characters == SIZE
    assert alone.facts(wanted[0]).characters == 1


def test_a_failure_on_another_rank_is_an_outcome(store: Store, tmp_path: Path) -> None:
    """Of that stage alone; unexpected errors come as text with their class."""
    wanted: list[AnyStage] = [Text("a"), Refused(), Text("b"), Bug()]
    outcomes, exit_code = made(store, tmp_path / "messages", wanted)

    assert exit_code == 0
    assert [outcomes[wanted[place].key] for place in (0, 2)] == ["made", "made"]
    assert isinstance(outcomes[wanted[1].key], DataError)
    assert isinstance(outcomes[wanted[3].key], Exception)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_amid_a_stage_of_all_ranks_ends_all(failing: int, store: Store, tmp_path: Path) -> None:
    """One says why; the other, which waits for it, ends without a word. Both have exit code 1."""
    folder = tmp_path / "messages"
    folder.mkdir()
    processes = [
        start(first_rank, folder, store.root, [OnAll(fails=failing)]),
        start(other_rank, folder, store.root),
    ]
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [1, 1]
    assert (folder / "sentence").read_text() == f"rank {failing} has no data; give it some"


def test_an_error_that_follows_from_another_ranks_is_not_reported(tmp_path: Path) -> None:
    """Such as of a connection that was closed, or of the same mistake: the first to fail says why."""
    messages = Files(tmp_path)
    with pytest.raises(DataError), ended_together(messages):
        raise DataError("no data; give it some")
    messages.set(SAID, b"")  # as when the process of the first ends
    with pytest.raises(SystemExit) as end, ended_together(messages):
        raise DataError("no data; give it some")

    assert end.value.code == 1
    assert messages.get(FAILED) == b"2"


@pytest.mark.parametrize("minutes", [None, 5.0])
def test_the_end_of_the_allowed_time_is_left_to_rank_0(minutes: float | None) -> None:
    """The timer of another rank ends later, for the case that rank 0 cannot end it; without one there is none."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {one: signal.getsignal(one) for one in signals}
    if minutes:
        stop_after(minutes)
    try:
        leave_signals_to_first()
        left_s = signal.getitimer(signal.ITIMER_REAL)[0]
        found = [signal.getsignal(one) for one in signals]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in before.items():
            signal.signal(one, handler)

    assert found == [signal.SIG_IGN, signal.SIG_DFL, signal.SIG_DFL]
    if minutes is None:
        assert not left_s
    else:
        assert 60 * minutes < left_s <= 60 * minutes + ALARM_LATER_S
