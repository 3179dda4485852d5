"""Progress for people: bars with rate and time left on a terminal, a line now and then in a log."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from understudy.progress import NoProgress, Progress, ProgressCallback

LINE_EVERY_S = 30.0
"""In a log, where nobody watches a bar."""


def progress_for(stream: TextIO, *, quiet: bool) -> AbstractContextManager[Progress]:
    """The right progress for a stream: none, bars or lines."""
    if quiet:
        return _unwatched(NoProgress())
    return _bars(stream) if stream.isatty() else _unwatched(Lines(stream))


@contextmanager
def _unwatched(progress: Progress) -> Iterator[Progress]:
    yield progress


@contextmanager
def _bars(stream: TextIO) -> Iterator[Progress]:
    columns = (
        # On a narrow terminal words give way, never a number.
        TextColumn("{task.description}", table_column=Column(ratio=2, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f}%"),
        Rate(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn("left {task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with RichProgress(*columns, console=Console(file=stream), expand=True) as bars:
        yield Bars(bars)


class Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        """How fast a task goes."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:8.2f} {task.fields['unit']}/s" if speed else "")


class Bars:
    """A bar per piece of work."""

    def __init__(self, bars: RichProgress) -> None:
        self.bars = bars

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Draws a bar until the work is done, then a line: of many bars a terminal shows the oldest."""
        started, last = time.monotonic(), ""
        task = self.bars.add_task(title, total=total, unit=unit, note="")

        def advance(amount: float, note: str = "") -> None:
            nonlocal last
            last = note or last
            self.bars.update(task, advance=amount, note=last)

        yield advance
        self.bars.remove_task(task)
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s {last}".rstrip())

    def say(self, sentence: str) -> None:
        """Prints above the bars."""
        self.bars.console.print(sentence)


class Lines:
    """A line when work begins and ends, and at most every half minute between."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Tells of one piece of work."""
        started = told = time.monotonic()
        done = resumed = 0.0
        last = ""

        def advance(amount: float, note: str = "") -> None:
            nonlocal done, told, last, resumed
            now = time.monotonic()
            resumed += amount if not done and now - started < 1 and amount > 1 else 0  # found, not made now
            done, last = done + amount, note or last
            if total and now - told > LINE_EVERY_S and done > resumed:
                rate = (done - resumed) / (now - started)
                # The first hundredth may have waited for something else, such as the student's first texts.
                left = f", {(total - done) / rate:.0f} s left" if done - resumed > total / 100 else ""
                self.say(f"{title}: {done / total:.0%}, {rate:.2f} {unit}/s{left} {last}")
                told = now

        yield advance
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s {last}".rstrip())

    def say(self, sentence: str) -> None:
        """Prints a line."""
        print(sentence, file=self.stream, flush=True)
