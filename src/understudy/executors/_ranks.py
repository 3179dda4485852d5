"""Stages on several ranks: rank 0 sends stages to the others, which make them as worker processes do.

Messages are values in the key-value store that all ranks can reach (`Messages`); this module does not know torch. What
a rank exchanges with the others while a stage is under way, such as gradients, is the stage's own matter.
"""

import atexit
import math
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from understudy.errors import UnderstudyError
from understudy.executors._memory import trim
from understudy.executors._worker import as_text
from understudy.ranks import Ranks
from understudy.store.stage import WorkerContext
from understudy.store.store import AnyStage, Outcome, attempt

MESSAGE_POLL_S = 0.05
"""Between two looks for a message."""
WATCH_S = 0.5
"""Between two looks for the failure of another rank."""
GRACE_S = 30.0
"""What the rank that failed has to end, before the others do: what it holds is closed, and it says why."""
ALARM_LATER_S = 30.0
"""How much longer than rank 0 the others have under `--max-minutes`: it says that the time is over, and ends them."""
FAILED = "failed"
"""Key of the number of ranks that failed by themselves."""
SAID = "said"
"""Key that is there when the first of them ends: it has said why."""
END = b"end"
"""The message that the run is done."""


class Messages(Protocol):
    """A key-value store that all ranks can reach, as `torch.distributed.Store` is one."""

    def set(self, key: str, value: bytes, /) -> object:
        """Writes a value."""

    def get(self, key: str, /) -> bytes:
        """The value of a key that is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there."""

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a number, which is 0 at first, and returns the sum."""


@dataclass(frozen=True)
class Together:
    """The message that rank 0 has begun a stage in this folder that all ranks make together."""

    stage: AnyStage
    folder: Path


@dataclass(frozen=True)
class OverRanks:
    """The executor of rank 0."""

    ranks: Ranks
    messages: Messages
    sent: dict[int, int] = field(default_factory=dict)
    """Rank -> messages it was sent so far, by all queues of the run."""

    @contextmanager
    def open(self, context: WorkerContext) -> Iterator["RankQueue"]:
        """A queue over all ranks, which stay there after it."""
        try:
            yield RankQueue(self, context)
        finally:
            context.close()

    def send(self, rank: int, message: AnyStage | Together | None) -> int:
        """Sends a stage to a rank, or that the run is done; returns the number of the message."""
        number = self.sent.get(rank, 0)
        self.sent[rank] = number + 1
        self.messages.set(_key("stage", rank, number), END if message is None else pickle.dumps(message))
        return number

    def close(self) -> None:
        """Ends the other ranks, each after what it was sent."""
        for rank in range(1, self.ranks.size):
            self.send(rank, None)


@dataclass
class RankQueue:
    """The stages of each rank, in the order in which it makes them."""

    executor: OverRanks
    context: WorkerContext
    own: deque[AnyStage] = field(default_factory=deque)
    others: dict[int, deque[tuple[int, AnyStage]]] = field(default_factory=dict)
    """Rank -> numbers and stages it was sent and has not made."""

    def __post_init__(self) -> None:
        """Begins with nothing on any rank."""
        self.others = {rank: deque() for rank in range(1, self.executor.ranks.size)}

    def submit(self, stage: AnyStage) -> None:
        """Gives a stage to the rank that has the fewest; one that all ranks make together begins here."""
        rank = min(self.others, key=lambda one: len(self.others[one]))
        if stage.on_all_ranks or len(self.own) <= len(self.others[rank]):
            self.own.append(stage)
        else:
            self.others[rank].append((self.executor.send(rank, stage), stage))

    def wait(self) -> tuple[AnyStage, Outcome]:
        """A stage that another rank has made, or makes one here.

        Raises:
            Exception: what stopped a stage of all ranks: the others wait in the middle of it, so the run ends.
        """
        while True:
            for rank in self.others:
                if done := self._done(rank):
                    return done
            if self.own:
                return self._make_own()
            time.sleep(MESSAGE_POLL_S)

    def _make_own(self) -> tuple[AnyStage, Outcome]:
        """Of this rank's stages those first for which the other ranks need not stop their own."""
        stage = min(self.own, key=lambda one: one.on_all_ranks)
        self.own.remove(stage)
        context = replace(self.context, begin_on_all_ranks=partial(self._begin, stage)) if stage.on_all_ranks else None
        outcome = attempt(stage, context or self.context)
        trim()
        if stage.on_all_ranks and isinstance(outcome, Exception):
            raise outcome
        return stage, outcome

    def _begin(self, stage: AnyStage, folder: Path) -> Ranks:
        for rank in self.others:
            self.executor.send(rank, Together(stage, folder.resolve()))
        return self.executor.ranks

    def _done(self, rank: int) -> tuple[AnyStage, Outcome] | None:
        if not self.others[rank]:
            return None
        number, stage = self.others[rank][0]
        key = _key("outcome", rank, number)
        if not self.executor.messages.check([key]):
            return None
        self.others[rank].popleft()
        outcome: Outcome = pickle.loads(self.executor.messages.get(key))  # noqa: S301 - from a process of this run
        if outcome == "made":
            self.context.progress.log(f"{stage.title}: made by rank {rank}")
        return stage, outcome


def leave_signals_to_first() -> None:
    """Ctrl-C, which reaches all ranks, is left to rank 0; other signals end this process without a word.

    So is the end of the time of `--max-minutes`: a rank that ended before rank 0 would be an error of its training.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stopping in (signal.SIGTERM, signal.SIGALRM):
        if signal.getsignal(stopping) is not signal.SIG_IGN:
            signal.signal(stopping, signal.SIG_DFL)
    if left_s := signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, left_s + ALARM_LATER_S)


def make_what_is_sent(ranks: Ranks, messages: Messages, context: WorkerContext) -> None:
    """Makes one stage after another in a rank other than 0, until rank 0 sends that the run is done.

    Raises:
        Exception: what stopped this rank's part of a stage that all ranks make together.
    """
    number = 0
    try:
        while (pickled := _received(messages, _key("stage", ranks.rank, number))) != END:
            message: AnyStage | Together = pickle.loads(pickled)  # noqa: S301 - from a process of this run
            if isinstance(message, Together):
                message.stage.run(message.folder, replace(context, begin_on_all_ranks=lambda _folder: ranks))
            else:
                outcome = attempt(message, context)
                messages.set(_key("outcome", ranks.rank, number), _pickled(outcome))
            trim()
            number += 1
    finally:
        context.close()


def _received(messages: Messages, key: str) -> bytes:
    # A blocking `get` would keep the thread that watches for failures from using the store.
    while not messages.check([key]):
        time.sleep(MESSAGE_POLL_S)
    return messages.get(key)


def _pickled(outcome: Outcome) -> bytes:
    unexpected = isinstance(outcome, Exception) and not isinstance(outcome, UnderstudyError)
    return pickle.dumps(as_text(outcome) if unexpected else outcome)  # type: ignore[arg-type]  # it is an exception


def _key(kind: str, rank: int, number: int) -> str:
    return f"{kind}/{rank}/{number}"


@contextmanager
def ended_together(messages: Messages) -> Iterator[None]:
    """Within, an error of this rank ends the others, and an error of another rank ends this process with exit code 1.

    Raises:
        SystemExit: instead of an error that follows from that of another rank, which has been reported there.
    """
    over = threading.Event()
    threading.Thread(target=_end_with_others, args=(messages, over), daemon=True).start()
    try:
        yield
    except BaseException as error:
        over.set()
        if _failed_first(messages):
            atexit.register(_say, messages)
            raise
        # If this rank ended sooner, torchrun would end the one that failed before it has said why.
        _wait(messages, SAID, threading.Event(), GRACE_S)
        raise SystemExit(1) from error
    over.set()


def _failed_first(messages: Messages) -> bool:
    try:
        return messages.add(FAILED, 1) == 1
    except RuntimeError:  # the process that holds the messages has ended
        return True


def _say(messages: Messages) -> None:
    with suppress(RuntimeError):  # the process that holds the messages has ended
        messages.set(SAID, b"")


def _end_with_others(messages: Messages, over: threading.Event) -> None:
    _wait(messages, FAILED, over)
    _wait(messages, SAID, over, GRACE_S)
    if not over.is_set():
        os._exit(1)  # whatever this rank waits for: a rank that failed never sends it


def _wait(messages: Messages, key: str, over: threading.Event, patience_s: float = math.inf) -> None:
    """Until the key is there, or it is over."""
    until = time.monotonic() + patience_s
    while not over.wait(WATCH_S) and not _is_there(messages, key) and time.monotonic() < until:
        pass


def _is_there(messages: Messages, key: str) -> bool:
    try:
        return messages.check([key])
    except RuntimeError:  # as above
        return True
