"""What a fuzzed case is, and when it counts as a failure.

A case is valid input, or valid input with ONE labelled fault. Valid input must be read, with the right values; input
with a fault must be refused in a message, or made again where the case says so. Anything else is a failure: another
exception (a traceback for a user), a fault that is accepted in silence, or a case that takes over `MOST_SECONDS`.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hypothesis.strategies import SearchStrategy

from understudy.errors import UnderstudyError

MOST_SECONDS = 5
LONGEST_MESSAGE = 8_000
VALID = "valid"
FAST_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder made safely inside it
"""Where files are written, if it is there: in memory, making and deleting a folder takes microseconds."""


@dataclass(frozen=True)
class Case:
    """One input."""

    fault: str
    """`VALID`, or the label of the one fault."""
    read: Callable[[Path], object]
    """Writes the input into an empty folder, reads it with understudy, and returns what was read."""
    expected: object = field(default=None, repr=False)
    """What a valid input is read as; None: anything."""
    shown: object = None
    """The input, for a report of a failure."""
    may_be_repaired: bool = False
    """Whether an input with a fault may be read too, as `expected`: what is missing is made again."""


@dataclass(frozen=True)
class Domain:
    """One kind of input."""

    name: str
    cases: SearchStrategy[Case]


class HangError(Exception):
    """A case took too long. It is no UnderstudyError and no exception that a reader would handle."""


def verdict(case: Case, folder: Path) -> str:
    """What became of a case: `read` or `refused`.

    Raises:
        AssertionError: if that is a failure, with the case and the exception.
    """
    try:
        with time_limit(MOST_SECONDS):
            found = case.read(folder)
    except UnderstudyError as refusal:
        message = str(refusal)
        assert case.fault != VALID, f"valid input was refused: {message}\n{case.shown!r:.2000}"
        assert message.strip(), f"{case.fault}: refused without a message\n{case.shown!r:.2000}"
        assert "Traceback" not in message, f"{case.fault}: the message holds a traceback: {message}"
        assert len(message) < LONGEST_MESSAGE, f"{case.fault}: a message of {len(message)} characters: {message[:500]}"
        return "refused"
    except HangError:
        raise AssertionError(f"{case.fault}: over {MOST_SECONDS} s\n{case.shown!r:.2000}") from None
    except Exception as error:
        raise AssertionError(f"{case.fault}: {type(error).__name__}: {error}\n{case.shown!r:.2000}") from error
    assert case.fault == VALID or case.may_be_repaired, (
        f"{case.fault}: accepted in silence, as {found!r:.500}\n{case.shown!r:.2000}"
    )
    if case.expected is not None:
        assert found == case.expected, (
            f"{case.fault}: read {found!r:.1000}\nexpected {case.expected!r:.1000}\n{case.shown!r:.2000}"
        )
    return "read"


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises HangError in this thread after so many seconds."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
