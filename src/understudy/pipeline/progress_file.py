"""The record of a run: `progress.jsonl` in its folder, one JSON object per line, and what a tracker receives.

    {"time": "2026-11-28T16:40:12+00:00", "title": "fine-tune the teacher", "event": "progress", "done": 0.25,
     "values": {"step": 120, "loss": 1.93}}

`event` is start, progress, measured (a dev evaluation, or a number from a worker process), done or log. The file is
appended to by every attempt, so it also shows when a run was interrupted and resumed.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from understudy.config.recipe import TrackerName
from understudy.pipeline.trackers import Track, tracking
from understudy.progress import NO_VALUES, Progress, ProgressCallback, Values
from understudy.store.disk import make_folder

RECORD = "progress.jsonl"
Write = Callable[..., None]
"""Writes a line, given the title of the work, the event, and further fields by name."""
WRITE_EVERY_S = 1.0
"""Shortest time between two lines on the same piece of work; dev evaluations are always written."""


@contextmanager
def recorded(progress: Progress, folder: Path, tracker: TrackerName | None = None) -> Iterator[Progress]:
    """A progress display whose reports are also appended to `progress.jsonl` in a folder, and sent to a tracker.

    Raises:
        ConfigError: if the tracker is not installed.
    """
    make_folder(folder)
    with ExitStack() as stack:
        track = stack.enter_context(tracking(tracker, folder)) if tracker else None
        file = stack.enter_context((folder / RECORD).open("a", encoding="utf-8", buffering=1))
        lock = threading.Lock()

        def write(title: str, event: str, **facts: object) -> None:
            line = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), "title": title}
            with lock:
                file.write(json.dumps(line | {"event": event} | facts, ensure_ascii=False) + "\n")

        yield RecordedProgress(progress, write, track)


class RecordedProgress:
    """A `Progress` that writes what it receives and passes it on."""

    def __init__(self, shown: Progress, write: Write, track: Track | None) -> None:
        self.shown = shown
        self.write = write
        self.send = track

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Writes when the work starts and ends, and what was measured meanwhile."""
        started, written, done = time.monotonic(), 0.0, 0.0
        self.write(title, "start", total=total, unit=unit)
        with self.shown.track(title, total, unit) as advance:

            def both(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
                nonlocal written, done
                advance(amount, note, values)
                done += amount
                if values and not amount:
                    self.measured(title, values)
                elif time.monotonic() - written > WRITE_EVERY_S:
                    written = time.monotonic()
                    share = round(done / total, 4) if total else None
                    self.write(title, "progress", done=share, values=dict(values))
                    if values and self.send:
                        self.send(title, values)

            yield both
        self.write(title, "done", seconds=round(time.monotonic() - started, 3))

    def log(self, message: str) -> None:
        """Writes and shows a line."""
        self.write("", "log", message=message)
        self.shown.log(message)

    def measured(self, title: str, values: Values) -> None:
        """Writes the values, and sends them to the tracker."""
        self.write(title, "measured", values=dict(values))
        if self.send:
            self.send(title, values)
