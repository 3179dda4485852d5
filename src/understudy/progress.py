"""How long work tells that it goes on, without knowing who listens.

The command line draws bars; a library user hears nothing unless they ask.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class ProgressCallback(Protocol):
    """Told that `amount` more of the work is done; `note` is a few words on how it stands."""

    def __call__(self, amount: float, note: str = "") -> None:
        """So much more is done."""


class Progress(Protocol):
    """Hears about long work."""

    def work(self, title: str, total: float | None, unit: str) -> AbstractContextManager[ProgressCallback]:
        """Opens a piece of work of `total` units; None where nobody can know."""

    def say(self, sentence: str) -> None:
        """Hears something worth a line."""


def NO_PROGRESS(amount: float, note: str = "") -> None:  # noqa: N802 - a constant that is an ProgressCallback
    """Nobody hears of it."""


class NoProgress:
    """Nobody listens."""

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:  # noqa: ARG002 - a Progress
        """Opens a piece of work nobody watches."""
        yield NO_PROGRESS

    def say(self, sentence: str) -> None:
        """Lets the sentence go."""
