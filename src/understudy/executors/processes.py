"""Runs stages side by side in spawned processes on this machine.

A worker receives pickled stages through a pipe, one at a time, and sends back lines of progress and the outcome. A
worker that is killed fails the stage it was making and no other. Workers end with the process that started them,
however that ends. What a worker does is `executors._worker`.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue

from understudy.errors import ConfigError, UnderstudyError
from understudy.executors._worker import Done, Measurements, Message, as_text, pickled_stage, work
from understudy.store.stage import WorkerContext
from understudy.store.store import AnyStage, Outcome

SPAWN = get_context("spawn")  # a forked child would inherit the threads' locks of the libraries loaded here
THREADS = "OMP_NUM_THREADS"
END_S = 10.0
"""How long an idle worker may take to close what it kept open before it is killed."""


@dataclass(frozen=True)
class Processes:
    """The executor that runs stages in worker processes."""

    workers: int
    threads: int = 1
    """Threads of each worker: with more in total than cores, the total speed decreases."""

    def __post_init__(self) -> None:
        """Refuses numbers with which no stage could run.

        Raises:
            ConfigError: for less than one worker or thread.
        """
        if self.workers < 1 or self.threads < 1:
            raise ConfigError(
                f"{self.workers} worker processes with {self.threads} threads each cannot run a stage; use at least 1 "
                "of each"
            )

    @contextmanager
    def open(self, context: WorkerContext) -> Iterator["ProcessQueue"]:
        """Workers, started when they are needed; on leaving, those that still work are killed and their stages resume
        in the next run.
        """
        queue = ProcessQueue(self.workers, self.threads, context)
        try:
            yield queue
        finally:
            queue.close()
            context.close()


@dataclass(eq=False)
class Worker:
    """A process, the caller's end of its pipe, and the stage it makes now."""

    process: SpawnProcess
    pipe: Connection
    stage: AnyStage | None = None


@dataclass
class ProcessQueue:
    """Stages under way in worker processes, and stages that wait for an idle one.

    Those that became ready last are made first, so that a study finishes cell by cell.
    """

    most: int
    threads: int
    context: WorkerContext
    workers: list[Worker] = field(default_factory=list)
    waiting: deque[tuple[AnyStage, bytes]] = field(default_factory=deque)
    newest: int = 0
    """How many of those, at the left, were submitted since the last `wait`."""
    refused: deque[tuple[AnyStage, Outcome]] = field(default_factory=deque)
    """Stages that could not be pickled."""
    messages: SimpleQueue[tuple[Worker, Message | None]] = field(default_factory=SimpleQueue)
    """What the workers sent, filled by one thread per worker; None: the worker ended."""

    def submit(self, stage: AnyStage) -> None:
        """Sends a stage to an idle worker, or queues it."""
        try:
            self.waiting.insert(self.newest, (stage, pickled_stage(stage)))
            self.newest += 1
        except UnderstudyError as refusal:
            self.refused.append((stage, refusal))
        self._send_waiting()

    def wait(self) -> tuple[AnyStage, Outcome]:
        """The next stage that is done; shows the progress of all meanwhile."""
        self.newest = 0
        if self.refused:
            return self.refused.popleft()
        while True:
            worker, message = self.messages.get()
            if isinstance(message, str):
                self.context.progress.log(message)
                continue
            if isinstance(message, Measurements):
                self.context.progress.measured(message.title, message.values)
                continue
            stage, worker.stage = worker.stage, None
            if message is None and worker in self.workers:
                self.workers.remove(worker)
            self._send_waiting()
            if stage is not None:
                return stage, message.outcome if message else _end_of(worker, stage)

    def close(self) -> None:
        """Ends all workers: idle ones close what they kept open, others are killed."""
        for worker in self.workers:
            if worker.stage is None:
                with suppress(OSError):  # it has ended already
                    worker.pipe.send_bytes(b"")
            else:
                worker.process.kill()
        for worker in self.workers:
            worker.process.join(END_S)
            worker.process.kill()
            worker.process.join()

    def _send_waiting(self) -> None:
        while self.waiting:
            idle = next((worker for worker in self.workers if worker.stage is None), None)
            if idle is None and len(self.workers) == self.most:
                return
            worker = idle or self._start()
            try:
                worker.pipe.send_bytes(self.waiting[0][1])
            except OSError:
                if idle:  # it ended since its last stage: another one makes this stage
                    self.workers.remove(idle)
                    continue
            worker.stage, _ = self.waiting.popleft()
            self.newest = max(0, self.newest - 1)

    def _start(self) -> Worker:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=work, args=(theirs, self.context.store, self.context.allow_code))
        with _threads_of_children(self.threads):
            process.start()
        theirs.close()  # so that the end of the worker, which holds the only copy, is the end of the pipe
        worker = Worker(process, ours)
        self.workers.append(worker)
        # A thread empties the pipe even while the caller makes a stage itself: a full pipe would stop the worker.
        threading.Thread(target=_receive, args=(worker, self.messages), daemon=True).start()
        return worker


def _end_of(worker: Worker, stage: AnyStage) -> UnderstudyError:
    worker.process.join()
    return UnderstudyError(
        f"a worker process ended with exit code {worker.process.exitcode} while it made {stage.folder_name}; it may "
        "have been killed or out of memory: use fewer processes and run the same command again to resume"
    )


def _receive(worker: Worker, messages: SimpleQueue[tuple[Worker, Message | None]]) -> None:
    while True:
        try:
            message: Message | None = worker.pipe.recv()
        except (EOFError, OSError):
            message = None
        except Exception as error:  # noqa: BLE001 - an outcome that cannot be unpickled must not stop the run
            message = Done(as_text(error))
        messages.put((worker, message))
        if message is None:
            return


@contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    # The variable is read when a library is loaded, so it must be there before the worker's first import.
    before = os.environ.get(THREADS)
    os.environ[THREADS] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def executor(workers: int) -> Processes:
    """As `executor_named` calls it; the cores are divided among the workers."""
    return Processes(workers, threads=max(1, (os.cpu_count() or 1) // max(1, workers)))
