"""What a worker process does: receives pickled stages, makes them, sends back progress and outcomes.

It depends on the store only. `executors.processes` starts processes that run `work` and reads what they send;
`executors._ray_worker` makes a stage on a machine of a cluster.
"""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection

from understudy.errors import UnderstudyError, first_line
from understudy.executors._memory import return_freed_memory, trim
from understudy.progress import NO_VALUES, ProgressCallback, Values
from understudy.store.stage import WorkerContext
from understudy.store.store import AnyStage, Outcome, Store, attempt


@dataclass(frozen=True)
class Done:
    """The message that a stage is done, and what became of it."""

    outcome: Outcome


@dataclass(frozen=True)
class Measurements:
    """What was measured during a piece of work."""

    title: str
    values: Values


Message = str | Measurements | Done
"""A line of progress, measurements, or the outcome of the stage."""


def work(pipe: Connection, store: Store, allow_code: bool) -> None:
    """Makes one stage after another until the caller sends an empty message or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the caller stops its workers
    threading.Thread(target=_end_with_caller, daemon=True).start()
    return_freed_memory()
    progress = MessageProgress(pipe.send)
    context = WorkerContext(store, progress, allow_code)
    try:
        while pickled := pipe.recv_bytes():
            progress.send(Done(make_pickled(pickled, context)))
    except (EOFError, ConnectionError):
        pass  # the caller ended
    finally:
        context.close()


def _end_with_caller() -> None:
    caller = parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)  # whatever the stage does: nothing waits for its result


def pickled_stage(stage: AnyStage) -> bytes:
    """A stage as a worker receives it.

    Raises:
        UnderstudyError: if it cannot be pickled.
    """
    try:
        return pickle.dumps(stage)
    except Exception as error:  # pickle raises errors of several classes
        raise UnderstudyError(
            f"the stage {stage.folder_name} cannot be sent to a worker process ({first_line(error)}); define its "
            "class at the top level of a module, or run without worker processes"
        ) from error


def make_pickled(pickled: bytes, context: WorkerContext) -> Outcome:
    """Makes the stage that was sent; the outcome is one that can be pickled, but for errors of the project."""
    try:
        stage = pickle.loads(pickled)  # noqa: S301 - from the process that started this one
    except Exception as error:  # noqa: BLE001 - unpickling raises errors of many classes
        return UnderstudyError(
            f"a worker process cannot load the stage it was sent ({first_line(error)}); define the stage's class in a "
            "module that the worker can import, or run without worker processes"
        )
    outcome = attempt(stage, context)
    trim()
    if isinstance(outcome, Exception) and not isinstance(outcome, UnderstudyError):
        return as_text(outcome)
    return outcome


def as_text(error: Exception) -> RuntimeError:
    """An unexpected exception as one that can be pickled, whatever the class: its class, message and traceback."""
    text = RuntimeError(f"{type(error).__name__}: {first_line(error)}")
    text.add_note("".join(traceback.format_exception(error)))
    return text


@dataclass
class MessageProgress:
    """A `Progress` that sends lines to the caller: at the beginning, each tenth and the end of a piece of work."""

    deliver: Callable[[Message], None]
    """Sends a message."""
    every: float = 0.1
    """Share of the work between two lines."""
    measure_every_s: float = 1.0
    """Time between two measurements within a piece of work, so that fast steps do not fill the pipe."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Starts a piece of work and yields the callback that advances it."""
        done = shown = measured = 0.0
        self.log(f"{title}: started")

        def advance(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
            nonlocal done, shown, measured
            done += amount
            if values and (not amount or time.monotonic() - measured > self.measure_every_s):
                measured = time.monotonic()
                self.measured(title, values)
            if total and done / total - shown >= self.every and done < total:
                shown = done / total
                self.log(f"{title}: {shown:.0%} of {total:g} {unit}s {note}".rstrip())

        yield advance
        self.log(f"{title}: done")

    def log(self, message: str) -> None:
        """Sends one line."""
        self.send(message)

    def measured(self, title: str, values: Values) -> None:
        """Sends what was measured."""
        self.send(Measurements(title, dict(values)))

    def send(self, message: Message) -> None:
        """Sends a message; threads of one stage may do so at the same time."""
        with self.lock:
            self.deliver(message)
