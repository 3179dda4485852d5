"""Runs stages side by side in spawned processes on this machine.

A worker gets a pickled stage and the store's folder. It appends its progress to a file in the stage's partial folder,
which this process reads and shows. Workers end with the process that started them, however that ends.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for_futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from understudy.errors import TrainingError, UnderstudyError, first_line
from understudy.progress import NoProgress, ProgressCallback
from understudy.store.stage import WorkerContext
from understudy.store.store import PROGRESS_FILE, AnyStage, Outcome, Store, attempt

SHOW_EVERY_S = 1.0
"""How often the progress of workers is read."""


@dataclass(frozen=True)
class Processes:
    """The executor that runs stages in worker processes."""

    workers: int
    threads: int = 1
    """Of each worker: with more in total than cores, they wait for each other."""

    @contextmanager
    def open(self, context: WorkerContext) -> Iterator["ProcessQueue"]:
        """A pool of workers; on leaving, those that still work are stopped, and their stages resume next time."""
        before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
        os.environ["OMP_NUM_THREADS"] = str(self.threads)  # read when a worker loads its libraries
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(replace(context.store, wait=True), context.allow_code),
        )
        try:
            yield ProcessQueue(pool, context)
        finally:
            workers = list(pool._processes.values())  # noqa: SLF001 - no public way to stop what is under way
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            context.close()
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@dataclass
class ProcessQueue:
    """Stages under way in a pool of processes."""

    pool: ProcessPoolExecutor
    context: WorkerContext
    under_way: dict[Future[Outcome], AnyStage] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    """Stage key -> characters of its progress file that were shown."""

    def submit(self, stage: AnyStage) -> None:
        """Sends a stage to the pool."""
        self.under_way[self.pool.submit(_make_in_worker, stage)] = stage

    def wait(self) -> tuple[AnyStage, Outcome]:
        """The next stage that is done; shows the progress of all meanwhile."""
        while True:
            done, _ = wait_for_futures(self.under_way, timeout=SHOW_EVERY_S, return_when=FIRST_COMPLETED)
            for stage in self.under_way.values():
                self._show(stage)
            for future in done:
                stage = self.under_way.pop(future)
                try:
                    return stage, future.result()
                except BrokenProcessPool:
                    return stage, TrainingError(
                        f"a worker process ended while it made {stage.folder_name}, or before it could start: it may "
                        "have been killed or out of memory; use fewer processes and run the same command again"
                    )

    def _show(self, stage: AnyStage) -> None:
        path = self.context.store.folder(stage).with_name(f"{stage.folder_name}.partial") / PROGRESS_FILE
        try:
            lines = path.read_text(encoding="utf-8")[self.read.get(stage.key, 0) :]
        except FileNotFoundError:
            return
        whole, newline, _ = lines.rpartition("\n")
        self.read[stage.key] = self.read.get(stage.key, 0) + len(whole) + len(newline)
        for line in filter(None, whole.split("\n")):
            self.context.progress.log(json.loads(line))


_CONTEXT: list[WorkerContext] = []
"""The context of this worker process, once it has started."""


def _start_worker(store: Store, allow_code: bool) -> None:
    _CONTEXT.append(WorkerContext(store, NoProgress(), allow_code))
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)  # the parent was killed: nobody waits for this worker's result

        threading.Thread(target=end_with_parent, daemon=True).start()


def _make_in_worker(stage: AnyStage) -> Outcome:
    context = _CONTEXT[0]
    partial = context.store.folder(stage).with_name(f"{stage.folder_name}.partial")
    outcome = attempt(stage, replace(context, progress=FileProgress(partial / PROGRESS_FILE)))
    if isinstance(outcome, Exception) and not isinstance(outcome, UnderstudyError):
        # Other exceptions may not survive pickling; the message and the class do.
        return RuntimeError(f"{type(outcome).__name__}: {first_line(outcome)}")
    return outcome


@dataclass
class FileProgress:
    """Appends lines to a file that the caller reads."""

    path: Path
    every: float = 0.1
    """Share of a task between two lines."""

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """A line when the task begins, at each tenth of it, and when it is done."""
        done = shown = 0.0
        self.log(f"{title}: started")

        def advance(amount: float, note: str = "") -> None:
            nonlocal done, shown
            done += amount
            if total and done / total - shown >= self.every and done < total:
                shown = done / total
                self.log(f"{title}: {shown:.0%} of {total:g} {unit}s {note}".rstrip())

        yield advance
        self.log(f"{title}: done")

    def log(self, message: str) -> None:
        """Appends a line."""
        with self._open() as file:
            file.write(json.dumps(message) + "\n")

    def _open(self) -> TextIO:
        return self.path.open("a", encoding="utf-8")


def executor(workers: int) -> Processes:
    """As `executor_named` calls it; the cores are divided among the workers."""
    return Processes(workers, threads=max(1, (os.cpu_count() or 1) // workers))
