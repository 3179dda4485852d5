"""Signals that end a command: Ctrl-C, SIGTERM, and the end of the time that `--max-minutes` allows.

All three stop it in the same way, as Ctrl-C does: children are ended, finished work is kept, one sentence is printed.
They differ in the sentence and in the exit code.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code that shells expect after Ctrl-C; typer turns the interruption into it."""
ENDINGS = {
    signal.SIGINT: (INTERRUPTED, "interrupted"),
    signal.SIGTERM: (143, "terminated"),
    signal.SIGALRM: (124, "the time of --max-minutes is over"),
}
"""Signal -> exit code and what is said of it; 128 + number as of shells, 124 as of the command `timeout`."""
_received: list[signal.Signals] = []
"""Of the current command, in their order."""


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Within, SIGTERM and the end of the allowed time interrupt the command as Ctrl-C does."""
    _received.clear()
    # A signal that the starting process ignores stays ignored, as `nohup` wants it.
    chosen = [one for one in (signal.SIGTERM, signal.SIGALRM) if signal.getsignal(one) is signal.SIG_DFL]
    for one in chosen:
        signal.signal(one, _interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one in chosen:
            signal.signal(one, signal.SIG_DFL)


def stop_after(minutes: float) -> None:
    """Interrupts the command after that time."""
    signal.setitimer(signal.ITIMER_REAL, max(60 * minutes, 1e-3))  # zero would mean never


def ending(*, resumes: bool = True) -> tuple[int, str]:
    """The exit code of an interrupted command, and the sentence about it; some commands have nothing to resume."""
    code, what = ENDINGS[_received[0] if _received else signal.SIGINT]
    again = "run the same command again"
    return code, f"{what}; {again} to resume: finished work is kept" if resumes else f"{what}; {again}"


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # a running event loop has its own way to end at Ctrl-C
