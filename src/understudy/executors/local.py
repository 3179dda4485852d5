"""Runs stages one after another in this process."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from understudy.executors._memory import trim
from understudy.store.stage import WorkerContext
from understudy.store.store import AnyStage, Outcome, attempt


@dataclass(frozen=True)
class Local:
    """The executor that runs stages in this process."""

    @contextmanager
    def open(self, context: WorkerContext) -> Iterator["LocalQueue"]:
        """A queue that makes a stage when it is waited for."""
        try:
            yield LocalQueue(context)
        finally:
            context.close()


@dataclass
class LocalQueue:
    """Stages that are ready. Those that became ready last are made first, so that a study finishes cell by cell."""

    context: WorkerContext
    waiting: deque[AnyStage] = field(default_factory=deque)
    submitted: list[AnyStage] = field(default_factory=list)
    """Since the last stage was made, in the order in which they are needed."""

    def submit(self, stage: AnyStage) -> None:
        """Queues a stage."""
        self.submitted.append(stage)

    def wait(self) -> tuple[AnyStage, Outcome]:
        """Makes the first stage of the queue."""
        self.waiting.extendleft(reversed(self.submitted))
        self.submitted.clear()
        stage = self.waiting.popleft()
        outcome = attempt(stage, self.context)
        trim()
        return stage, outcome


def executor(workers: int) -> Local:  # noqa: ARG001 - one stage at a time
    """As `executor_named` calls it."""
    return Local()
