"""Admission: a request that would be answered too late is refused at once.

By Little's law a request waits for the number of unanswered ones, divided by the rate at which they are answered. Both
are counted on the event loop, so the wait is that of the queue, the engines and the event loop together.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LATEST = 0.25
"""Share of the time limit in which an answer is to be expected; the rest is for what the estimate does not know."""
ONE_BATCH = 32
"""Open requests that are never too many, and answers that say nothing of the rate: they may be those of one batch,
which come together after the time that one takes alone."""
RECENT = 256
"""Answers over which the rate is measured."""


class Admission:
    """Counts the requests that are being answered, and expects when another one would be."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """For one event loop.

        Args:
            timeout_s: the time limit of a request.
            clock: seconds.
        """
        self._latest_s = LATEST * timeout_s
        self._clock = clock
        self._open = 0
        self._pace_s = 0.0
        """Seconds per answer of a busy period before, which is what is known at the beginning of this one."""
        self._ends: deque[float] = deque(maxlen=RECENT)
        """When the busy period began, or an answer long ago was given, then when the latest answers were."""

    @property
    def open(self) -> int:
        """The number of requests that are being answered."""
        return self._open

    @property
    def is_late(self) -> bool:
        """Whether a request that begins now is expected to be answered too late."""
        if self._open < ONE_BATCH:
            return False
        answers = len(self._ends) - 1
        pace_s = (self._clock() - self._ends[0]) / answers if answers >= ONE_BATCH else self._pace_s
        return self._open * pace_s > self._latest_s

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Counts a request while it is being answered; one that fails or is cancelled is no answer."""
        if not self._open:
            if (answers := len(self._ends) - 1) >= ONE_BATCH:
                self._pace_s = (self._ends[-1] - self._ends[0]) / answers
            self._ends.clear()
            self._ends.append(self._clock())
        self._open += 1
        try:
            yield
            self._ends.append(self._clock())
        finally:
            self._open -= 1
