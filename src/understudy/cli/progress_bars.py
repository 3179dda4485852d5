"""Displays progress: bars with rate and remaining time on a terminal, lines with time stamps in a log."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from importlib.util import find_spec
from threading import Event as ThreadEvent
from threading import Lock, Thread
from typing import IO, TextIO

from rich.console import Console, OverflowMethod
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from understudy.characters import visible, visible_line
from understudy.errors import unknown_name
from understudy.progress import NO_VALUES, NoProgress, Progress, ProgressCallback, Values

LINE_EVERY_S = 8.0
"""Shortest time between two lines on the same piece of work in a log."""

SILENT_S = 9.0
"""Longest silence in a log: after it a line names the work that is under way. Loading a network reports nothing."""


def progress_for(stream: TextIO, *, quiet: bool, log_format: str | None = None) -> AbstractContextManager[Progress]:
    """The progress display for a stream: nothing if quiet, bars on a terminal, else lines.

    Args:
        stream: where it is shown.
        quiet: show nothing.
        log_format: a key of `LOG_FORMATS`: lines in this format, also on a terminal; None: as above.

    Raises:
        ConfigError: for an unknown format.
    """
    if log_format is not None and log_format not in LOG_FORMATS:
        raise unknown_name("log format", log_format, LOG_FORMATS)
    if quiet:
        return nullcontext(NoProgress())
    if stream.isatty() and log_format is None:
        return rich_progress(Console(file=stream))
    return LineProgress(stream, LOG_FORMATS[log_format or "text"]).kept_alive()


def rich_progress(console: Console | None = None) -> AbstractContextManager[Progress]:
    """Progress bars on a console; by default on that of the terminal or notebook.

    In a notebook rich needs ipywidgets to redraw bars; without them, and where there is no terminal, lines are printed.
    """
    console = console or Console()
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    can_redraw = find_spec("ipywidgets") is not None if console.is_jupyter else on_terminal
    if can_redraw:
        return _bars(console)
    return LineProgress(sys.stdout if console.is_jupyter else console.file).kept_alive()


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

        def advance(amount: float, note: str = "", values: Values = NO_VALUES) -> None:  # noqa: ARG001 - for the record
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

    def measured(self, title: str, values: Values) -> None:
        """Shows nothing: the run's record holds the values."""


Event = Mapping[str, object]
"""A line of a log before it is written: `message`, and where it reports work its title, share, rate and time left."""


def text_line(event: Event) -> str:
    """The time and the message."""
    return f"{event['time']} {event['message']}"


def json_line(event: Event) -> str:
    """The whole event as one JSON object."""
    return json.dumps(event)


LOG_FORMATS: dict[str, Callable[[Event], str]] = {"text": text_line, "json": json_line}


class LineProgress:
    """A `Progress` that prints a line when work ends, and every ten seconds before where work reports every two.

    Within `kept_alive` it also prints a line where work reports nothing for longer.
    """

    def __init__(self, stream: IO[str], line: Callable[[Event], str] = text_line) -> None:
        self.stream = stream
        self.line = line
        self._open: list[str] = []
        self._printed = time.perf_counter()
        self._lock = Lock()

    @contextmanager
    def kept_alive(self, every_s: float = SILENT_S) -> Iterator["LineProgress"]:
        """Within, no silence is longer than `every_s`: a line says which work is under way."""
        ended = ThreadEvent()

        def watch() -> None:
            while not ended.wait(max(0.01, self._printed + every_s - time.perf_counter())):
                silent_s = time.perf_counter() - self._printed
                if silent_s >= every_s:
                    title = self._open[-1] if self._open else "working"
                    self._print(f"{title}: under way, no report for {silent_s:.0f} s", title=title, silent_s=silent_s)

        watching = Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield self
        finally:
            ended.set()
            watching.join()

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Prints lines on one piece of work."""
        started = printed = time.monotonic()
        done = first = 0.0
        since: float | None = None
        last = ""

        def advance(amount: float, note: str = "", values: Values = NO_VALUES) -> None:  # noqa: ARG001 - for the record
            nonlocal done, printed, last, first, since
            now = time.monotonic()
            done, last = done + amount, note or last
            if since is None and amount:
                # The rate starts here: what came before was found in the cache, or was preparation.
                first, since = done, now
            if since is not None and now - printed > LINE_EVERY_S:
                rate = (done - first) / (now - since) if done > first else None
                share = done / total if total else None
                left_s = max(0.0, total - done) / rate if total and rate else None
                parts = [
                    f"{done:.0f} {unit}" if share is None else f"{share:.0%}",
                    *([] if rate is None else [f"{rate:.2f} {unit}/s"]),
                    *([] if left_s is None else [f"{left_s:.0f} s left"]),
                ]
                message = f"{title}: {', '.join(parts)} {last}".rstrip()
                self._print(message, title=title, done=share, per_s=rate, unit=unit, left_s=left_s, note=last)
                printed = now

        self._open.append(title)
        try:
            yield advance
        finally:
            self._open.remove(title)
        seconds = time.monotonic() - started
        self._print(f"{title}: done in {seconds:.1f} s {last}".rstrip(), title=title, done=1.0, seconds=seconds)

    def log(self, message: str) -> None:
        """Prints a line."""
        self._print(message)

    def measured(self, title: str, values: Values) -> None:
        """Prints nothing: the run's record holds the values."""

    def _print(self, message: str, **facts: object) -> None:
        event = {"time": datetime.now().astimezone().isoformat(timespec="seconds"), "message": message, **facts}
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        with self._lock:
            print(visible(self.line(event), encoding), file=self.stream, flush=True)
            self._printed = time.perf_counter()
