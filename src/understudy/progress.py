"""The protocol by which long work reports progress. This module does not display anything.

The command line shows progress bars (`cli.progress_bars`); in Python the default shows nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from types import MappingProxyType
from typing import Protocol, TypeVar

T = TypeVar("T")
MANY = 10_000
"""Units that take less than seconds where each is quick: work on fewer is not shown."""
REPORT_EVERY = 1000

Values = Mapping[str, float]
"""Measured numbers by name, such as the step, the loss and the dev scores of a training."""
NO_VALUES: Values = MappingProxyType({})


class ProgressCallback(Protocol):
    """Is called whenever more of the work is done."""

    def __call__(self, amount: float, note: str = "", values: Values = NO_VALUES) -> None:
        """Reports that `amount` more units are done.

        Args:
            amount: units of work; 0 for a measurement between two of them, such as a dev evaluation.
            note: a short status such as the current loss.
            values: what was measured, for the record of the run.
        """


class Progress(Protocol):
    """Receives reports of long work."""

    def track(self, title: str, total: float | None, unit: str) -> AbstractContextManager[ProgressCallback]:
        """Starts a piece of work of `total` units (None: unknown) and yields the callback that advances it."""

    def log(self, message: str) -> None:
        """Shows one line of text."""

    def measured(self, title: str, values: Values) -> None:
        """Receives what was measured during a piece of work that runs in another process."""


def NO_PROGRESS(amount: float, note: str = "", values: Values = NO_VALUES) -> None:  # noqa: N802 - a constant that is a ProgressCallback
    """Ignores the report."""


class NoProgress:
    """A `Progress` that shows nothing."""

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:  # noqa: ARG002 - a Progress
        """Starts a piece of work whose reports are ignored."""
        yield NO_PROGRESS

    def log(self, message: str) -> None:
        """Ignores the line."""

    def measured(self, title: str, values: Values) -> None:
        """Ignores the values."""


SILENT: Progress = NoProgress()


def track_many(progress: Progress, title: str, total: int, unit: str) -> AbstractContextManager[ProgressCallback]:
    """Tracks work whose units are quick, such as tokenizing, if there are many of them."""
    return progress.track(title, total, unit) if total > MANY else nullcontext(NO_PROGRESS)


def reported(progress: Progress, title: str, items: Iterable[T], unit: str) -> Iterator[T]:
    """The items of which nobody knows how many there are; once there are many, progress is reported."""
    rest = iter(items)
    yield from islice(rest, MANY)
    following = next(rest, None)
    if following is None:
        return
    with progress.track(title, None, unit) as advance:
        advance(MANY)
        yield following
        while block := list(islice(rest, REPORT_EVERY)):
            yield from block
            advance(len(block))
