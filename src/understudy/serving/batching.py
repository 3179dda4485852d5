"""Dynamic batching: sources of concurrent requests with equal settings are generated together.

One thread per engine takes from a common queue. A batch is complete when it has enough tokens, or when its first source
has waited for the given time; while all engines are busy, batches grow. A source that is alone as the one before it was
does not wait, so that a single client has the latency of the engine.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Condition, Thread

from understudy.serving.deployment import Answer, TextSettings
from understudy.serving.limits import ServerLimits

Generate = Callable[[Sequence[Sequence[int]], TextSettings], list[tuple[Answer, ...]]]
"""What `Answering.texts` does."""


class QueueFull(Exception):
    """So many sources wait that no further one is accepted, as a sentence. It never leaves the server."""


@dataclass(frozen=True)
class _Waiting:
    """A source that waits for an engine."""

    row: Sequence[int]
    settings: TextSettings
    alone: bool
    future: "Future[tuple[Answer, ...]]" = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        return len(self.row) * self.settings.per_source


class Batcher:
    """A queue of sources, and a thread for each engine that answers them."""

    def __init__(
        self, engines: Sequence[Generate], limits: ServerLimits, *, called: Callable[[int, int], None]
    ) -> None:
        """Starts the threads.

        Args:
            engines: each is called by its own thread alone.
            limits: of the queue and the batches.
            called: called for each batch with the number of its sources and of its source tokens.
        """
        self._limits = limits
        self._called = called
        self._waiting: deque[_Waiting] = deque()
        self._changed = Condition()
        self._closing = False
        self._was_alone = False
        self._threads = [Thread(target=self._work, args=(engine,), daemon=True) for engine in engines]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of sources in the queue."""
        return len(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether sources are accepted and every engine has its thread."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    def refuse_full(self, sources: int = 1) -> None:
        """Checks that the queue has room for so many sources; an empty one accepts any number.

        Raises:
            QueueFull: if it has not.
        """
        before = len(self._waiting)
        if before and before + sources > self._limits.queue:
            raise QueueFull(f"{before} sources wait already; try again later")

    def submit(
        self, rows: Sequence[Sequence[int]], settings: TextSettings, *, seeded: bool
    ) -> list["Future[tuple[Answer, ...]]"]:
        """The texts of the sources of one request. A cancelled future is not computed, unless it has begun.

        Args:
            rows: token ids that are within the limits.
            settings: how texts are generated.
            seeded: whether the seed was chosen by the client: a source is then generated alone, because the other
                sources of a batch change its samples. Other seeds are chosen by the engine.

        Raises:
            QueueFull: if there is no room for all of them.
        """
        if not seeded:
            settings = replace(settings, seed=None)
        entries = [_Waiting(row, settings, seeded) for row in rows]
        with self._changed:
            self.refuse_full(len(entries))
            self._waiting.extend(entries)
            self._changed.notify_all()
        return [entry.future for entry in entries]

    def close(self) -> None:
        """Ends the threads after everything that waits was answered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, generate: Generate) -> None:
        while batch := self._next_batch():
            running = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if not running:
                continue
            settings = running[0].settings
            self._called(len(running), sum(len(entry.row) for entry in running))
            try:
                texts = generate([entry.row for entry in running], settings)
            except Exception as error:  # noqa: BLE001 - each request of the batch gets it, and the thread goes on
                for entry in running:
                    entry.future.set_exception(error)
            else:
                for entry, own in zip(running, texts, strict=True):
                    entry.future.set_result(own)

    def _next_batch(self) -> list[_Waiting]:
        """The sources to generate next; none once the queue is closed and empty."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return []
                first = self._waiting[0]
                batch = self._together(first)
                wait_s = 0.0 if self._was_alone and len(batch) == 1 else self._limits.batch_wait_ms / 1000
                left = first.since + wait_s - time.monotonic()
                if left <= 0 or self._closing or self._is_full(batch):
                    self._was_alone = len(batch) == 1
                    chosen = {id(entry) for entry in batch}
                    self._waiting = deque(entry for entry in self._waiting if id(entry) not in chosen)
                    return batch
                self._changed.wait(left)

    def _together(self, first: _Waiting) -> list[_Waiting]:
        """The oldest source and those that share its batch, in order, up to the limit of tokens."""
        if first.alone:
            return [first]
        batch: list[_Waiting] = []
        tokens = 0
        for entry in self._waiting:
            if entry.alone or entry.settings != first.settings:
                continue
            tokens += entry.tokens
            if batch and tokens > self._limits.batch_tokens:
                break
            batch.append(entry)
        return batch

    def _is_full(self, batch: Sequence[_Waiting]) -> bool:
        return batch[0].alone or sum(entry.tokens for entry in batch) >= self._limits.batch_tokens
