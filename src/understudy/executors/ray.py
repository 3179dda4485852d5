"""Runs stages as tasks of a Ray cluster whose machines share the folder of the store (docs/cluster.md).

The caller submits as many stages as there is room for, so that those that became ready last are made first, and looks
for progress, results and new machines in turn. A stage whose worker ended is tried again. What a task does is
`executors._ray_worker`.
"""

import pickle
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from understudy.errors import ConfigError, UnderstudyError, first_line
from understudy.executors._ray_cluster import (
    MachineShare,
    cluster_connection,
    connect,
    machine_share,
    machines,
    worker_environment,
)
from understudy.executors._ray_worker import Work, library_versions, make_here, new_messages
from understudy.executors._worker import as_text, pickled_stage
from understudy.store.disk import make_folder
from understudy.store.stage import WorkerContext
from understudy.store.store import AnyStage, Outcome, Store

TRIES = 3
"""Attempts at a stage whose worker ends."""
LOOK_S = 0.5
"""Between two looks at the progress files and at the machines of the cluster."""
CANCEL_S = 10.0
"""How long tasks that are cancelled may take to end."""


@dataclass(frozen=True)
class Ray:
    """The executor that runs stages on a Ray cluster."""

    workers: int = 1
    """Stages side by side on the smallest machine, whose cores and GPUs are divided among them; a larger machine makes
    more."""

    def __post_init__(self) -> None:
        """Refuses a number with which no stage could run.

        Raises:
            ConfigError: for less than one worker.
        """
        if self.workers < 1:
            raise ConfigError(f"{self.workers} workers per machine cannot run a stage; use at least 1")

    @contextmanager
    def open(self, context: WorkerContext) -> Iterator["RayQueue"]:
        """A connection to the cluster; on leaving, tasks under way are killed and their stages resume in the next run.

        Raises:
            ConfigError: if there is no cluster, or its machines are not alike.
        """
        with cluster_connection():
            root = context.store.root.absolute()
            make_folder(root)
            messages = Path(mkdtemp(prefix=".progress-", dir=root))
            queue = RayQueue(
                context, Store(root, context.store.wait), machine_share(machines(), self.workers), messages
            )
            try:
                yield queue
            finally:
                queue.close()
                context.close()


@dataclass
class SubmittedStage:
    """A stage that waits or runs."""

    stage: AnyStage
    pickled: bytes
    tries: int = 0
    progress: Path = Path()
    read: int = 0
    """Bytes of the progress file that were shown."""


@dataclass
class RayQueue:
    """Stages under way in the cluster, and stages that wait for room.

    Those that became ready last are made first, so that a study finishes cell by cell.
    """

    context: WorkerContext
    store: Store
    share: MachineShare
    messages: Path
    """The folder of progress files."""
    waiting: deque[SubmittedStage] = field(default_factory=deque)
    newest: int = 0
    """How many of those, at the left, were submitted since the last `wait`."""
    under_way: dict[Any, SubmittedStage] = field(default_factory=dict)
    """By the reference of the task's result."""
    refused: deque[tuple[AnyStage, Outcome]] = field(default_factory=deque)
    """Stages that could not be pickled."""

    def submit(self, stage: AnyStage) -> None:
        """Sends a stage to the cluster, or queues it."""
        try:
            self.waiting.insert(self.newest, SubmittedStage(stage, pickled_stage(stage)))
            self.newest += 1
        except UnderstudyError as refusal:
            self.refused.append((stage, refusal))
        self._send_waiting()

    def wait(self) -> tuple[AnyStage, Outcome]:
        """The next stage that is done; shows the progress of all meanwhile."""
        import ray

        self.newest = 0
        if self.refused:
            return self.refused.popleft()
        while True:
            done, _ = ray.wait(list(self.under_way), num_returns=1, timeout=LOOK_S)
            for task in self.under_way.values():
                self._show_progress(task)
            made = self._done(done[0]) if done else None
            self._send_waiting()  # also where only a machine has joined
            if made is not None:
                return made

    def close(self) -> None:
        """Kills the tasks under way and deletes the progress files."""
        import ray

        for reference in self.under_way:
            ray.cancel(reference, force=True)
        if self.under_way:
            ray.wait(list(self.under_way), num_returns=len(self.under_way), timeout=CANCEL_S)
        shutil.rmtree(self.messages, ignore_errors=True)

    def _send_waiting(self) -> None:
        import ray

        if not self.waiting:
            return
        room = self.share.room(machines()) - len(self.under_way)
        for _ in range(min(room, len(self.waiting))):
            task = self.waiting.popleft()
            self.newest = max(0, self.newest - 1)
            task.tries += 1
            task.progress, task.read = self.messages / f"{task.stage.key}-{task.tries}", 0
            # Retries are this class's, not Ray's: they are shown, and wait where a lost machine still holds the lock.
            remote = ray.remote(make_here).options(
                name=task.stage.title,
                num_cpus=self.share.cores,
                num_gpus=self.share.gpus,
                max_retries=0,
                runtime_env={"env_vars": worker_environment(self.share.cores)},
            )
            self.under_way[remote.remote(self._work(task))] = task

    def _work(self, task: SubmittedStage) -> Work:
        return Work(
            stage=task.pickled,
            title=task.stage.title,
            store=replace(self.store, wait=self.store.wait or task.tries > 1),
            allow_code=self.context.allow_code,
            versions=library_versions(),
            progress=task.progress,
        )

    def _done(self, reference: Any) -> tuple[AnyStage, Outcome] | None:  # noqa: ANN401 - Ray's own type
        """The stage and its outcome; None if it is tried again."""
        import ray
        from ray import exceptions

        task = self.under_way.pop(reference)
        ended = exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError
        try:
            outcome: Outcome | None = pickle.loads(ray.get(reference))  # noqa: S301 - from a task of this process
        except (*ended, exceptions.ObjectLostError) as error:
            outcome = self._ended(task, type(error).__name__)
        except exceptions.RayError as error:
            outcome = UnderstudyError(
                f"a machine of the cluster cannot make {task.stage.folder_name} ({first_line(error)}); install "
                "the same versions of Python and of understudy on every machine (docs/cluster.md)"
            )
        except Exception as error:  # noqa: BLE001 - an outcome that cannot be unpickled must not stop the run
            outcome = as_text(error)
        self._show_progress(task)
        return None if outcome is None else (task.stage, outcome)

    def _ended(self, task: SubmittedStage, how: str) -> UnderstudyError | None:
        """Queues the task again, or says that it has been tried often enough."""
        if task.tries < TRIES:
            again = f"its worker ended ({how}); attempt {task.tries + 1} of {TRIES}"
            self.context.progress.log(f"{task.stage.title}: {again}")
            self.waiting.appendleft(task)
            return None
        return UnderstudyError(
            f"{TRIES} workers of the cluster ended while they made {task.stage.folder_name} ({how}); they may have "
            "been killed or out of memory: use fewer workers and run the same command again to resume"
        )

    def _show_progress(self, task: SubmittedStage) -> None:
        lines, task.read = new_messages(task.progress, task.read)
        for message in lines:
            if isinstance(message, str):
                self.context.progress.log(message)
            else:
                self.context.progress.measured(message.title, message.values)


def executor(workers: int) -> Ray:
    """As `executor_named` calls it: refused without a cluster before anything is made.

    Raises:
        ConfigError: as `cluster_connection`.
    """
    made = Ray(workers)
    connect()
    return made
