"""The protocol by which long work reports progress. This module does not display anything.

The command line shows progress bars (`cli.progress_bars`); in Python the default shows nothing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class ProgressCallback(Protocol):
    """Is called whenever more of the work is done."""

    def __call__(self, amount: float, note: str = "") -> None:
        """Reports that `amount` more units are done; `note` is a short status such as the current loss."""


class Progress(Protocol):
    """Receives reports of long work."""

    def track(self, title: str, total: float | None, unit: str) -> AbstractContextManager[ProgressCallback]:
        """Starts a piece of work of `total` units (None: unknown) and yields the callback that advances it."""

    def log(self, message: str) -> None:
        """Shows one line of text."""


def NO_PROGRESS(amount: float, note: str = "") -> None:  # noqa: N802 - a constant that is a ProgressCallback
    """Ignores the report."""


class NoProgress:
    """A `Progress` that shows nothing."""

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:  # noqa: ARG002 - a Progress
        """Starts a piece of work whose reports are ignored."""
        yield NO_PROGRESS

    def log(self, message: str) -> None:
        """Ignores the line."""
