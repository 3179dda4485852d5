"""Displays progress: bars with rate and remaining time on a terminal, occasional lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import IO, TextIO

from rich.console import Console, OverflowMethod
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from understudy.characters import visible, visible_line
from understudy.progress import NoProgress, Progress, ProgressCallback

LINE_EVERY_S = 30.0
"""Shortest time between two lines on the same piece of work in a log."""


def progress_for(stream: TextIO, *, quiet: bool) -> AbstractContextManager[Progress]:
    """The progress display for a stream: nothing if quiet, bars on a terminal, else lines."""
    if quiet:
        return nullcontext(NoProgress())
    return rich_progress(Console(file=stream)) if stream.isatty() else nullcontext(LineProgress(stream))


def rich_progress(console: Console | None = None) -> AbstractContextManager[Progress]:
    """Progress bars on a console; by default on that of the terminal or notebook.

    In a notebook rich needs ipywidgets to redraw bars; without them, and where there is no terminal, lines are printed.
    """
    console = console or Console()
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    can_redraw = find_spec("ipywidgets") is not None if console.is_jupyter else on_terminal
    return (
        _bars(console) if can_redraw else nullcontext(LineProgress(sys.stdout if console.is_jupyter else console.file))
    )


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    cut: OverflowMethod = "ellipsis" if console.encoding.startswith("utf") else "crop"
    columns = (
        # On a narrow terminal text is cut, never a number.
        TextColumn("{task.description}", table_column=Column(ratio=2, no_wrap=True, overflow=cut), markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f}%"),
        RateColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn(
            "left {task.fields[note]}",
            table_column=Column(ratio=1, no_wrap=True, overflow=cut),
            markup=False,
        ),
    )
    with RichProgress(*columns, console=console, expand=True) as bars:
        yield BarProgress(bars)


class RateColumn(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        """Returns the rate, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:8.2f} {task.fields['unit']}/s" if speed else "")


class BarProgress:
    """A `Progress` with a bar for each piece of work."""

    def __init__(self, bars: RichProgress) -> None:
        self.bars = bars

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Shows a bar until the work is done, then a line in its place, so that old bars do not fill the screen."""
        started, last = time.monotonic(), ""
        task = self.bars.add_task(self._shown(title), total=total, unit=unit, note="")

        def advance(amount: float, note: str = "") -> None:
            nonlocal last
            last = note or last
            self.bars.update(task, advance=amount, note=self._shown(last))

        yield advance
        self.bars.remove_task(task)
        self.log(f"{title}: done in {time.monotonic() - started:.1f} s {last}".rstrip())

    def log(self, message: str) -> None:
        """Prints a line above the bars."""
        console = self.bars.console
        console.print(Text(visible(message, console.encoding)))

    def _shown(self, text: str) -> str:
        return visible_line(text, self.bars.console.encoding)


class LineProgress:
    """A `Progress` that prints a line when work ends, and at most every half minute before."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Prints lines on one piece of work."""
        started = printed = time.monotonic()
        done = resumed = 0.0
        last = ""

        def advance(amount: float, note: str = "") -> None:
            nonlocal done, printed, last, resumed
            now = time.monotonic()
            # A first large amount within a second was found in the cache: it does not count for the rate.
            resumed += amount if not done and now - started < 1 and amount > 1 else 0
            done, last = done + amount, note or last
            if total and now - printed > LINE_EVERY_S and done > resumed:
                rate = (done - resumed) / (now - started)
                # The first hundredth may include a wait for something else, such as the student's first texts.
                left = f", {(total - done) / rate:.0f} s left" if done - resumed > total / 100 else ""
                self.log(f"{title}: {done / total:.0%}, {rate:.2f} {unit}/s{left} {last}")
                printed = now

        yield advance
        self.log(f"{title}: done in {time.monotonic() - started:.1f} s {last}".rstrip())

    def log(self, message: str) -> None:
        """Prints a line."""
        print(visible(message, getattr(self.stream, "encoding", None) or "utf-8"), file=self.stream, flush=True)
