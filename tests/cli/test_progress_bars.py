import io
import json
import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from threading import Event

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TextColumn

from understudy.cli.progress_bars import BarProgress, LineProgress, progress_for, rich_progress
from understudy.errors import ConfigError

Command = Callable[..., tuple[int, str, str]]
HEAVY = ("torch", "transformers", "pydantic", "pyarrow", "ctranslate2", "matplotlib")


def test_a_log_is_not_flooded() -> None:
    """Without a terminal, a piece of work of 1,000 steps prints one line."""
    log = io.StringIO()
    with progress_for(log, quiet=False) as progress, progress.track("fine-tune teacher", 1000, "step") as advance:
        for _ in range(1000):
            advance(1, "loss 1.0")

    assert log.getvalue().count("\n") == 1
    assert "fine-tune teacher: done" in log.getvalue()


def test_lines_of_a_log_have_time_stamps() -> None:
    """A day later the log still says when something happened."""
    log = io.StringIO()
    with progress_for(log, quiet=False) as progress:
        progress.log("compute scores")

    stamp, message = log.getvalue().rstrip().split(" ", 1)
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert message == "compute scores"


def test_silent_work_is_named_in_a_log() -> None:
    """Loading a network, or a long step, reports nothing: a line says what is under way, and since when."""

    class Log(io.StringIO):
        written = Event()

        def write(self, text: str) -> int:
            size = super().write(text)
            self.written.set()
            return size

    log = Log()
    with LineProgress(log).kept_alive(every_s=0.01) as progress, progress.track("fine-tune teacher", 3, "step"):
        assert log.written.wait(60)

    first = log.getvalue().splitlines()[0]
    assert first.partition(" ")[2].startswith("fine-tune teacher: under way, no report for ")


def test_a_json_log_has_an_object_per_line() -> None:
    """With the message, the title and the seconds as fields, whatever signs the names contain."""
    log = io.StringIO()
    with progress_for(log, quiet=False, log_format="json") as progress, progress.track('a "b"\n', 2, "step") as advance:
        advance(2)
        progress.log("c")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]

    assert lines[0]["message"] == "c"
    assert lines[1]["title"] == 'a "b"\n'
    assert lines[1]["seconds"] >= 0


def test_an_unknown_log_format_is_refused() -> None:
    """The message has the known ones."""
    with pytest.raises(ConfigError, match="unknown log format 'xml'; known: json, text"):
        progress_for(io.StringIO(), quiet=False, log_format="xml")


def test_a_finished_bar_is_replaced_by_a_line() -> None:
    """Finished work is a line above the current bar; kept as bars, the oldest would fill the screen."""
    screen = io.StringIO()
    with RichProgress(TextColumn("{task.description} {task.fields[note]}"), console=Console(file=screen)) as drawn:
        bars = BarProgress(drawn)
        for number in range(40):
            with bars.track(f"work {number}", 2, "step") as advance:
                advance(1, "loss 1.0")
                assert [task.description for task in drawn.tasks] == [f"work {number}"]

    assert len(re.findall(r"work \d+: done in [\d.]+ s loss 1\.0", screen.getvalue())) == 40


def test_quiet_prints_nothing() -> None:
    """The end of work is not printed either."""
    log = io.StringIO()
    with progress_for(log, quiet=True) as progress, progress.track("fine-tune teacher", 2, "step") as advance:
        advance(2)

    assert not log.getvalue()


def test_the_rate_excludes_cached_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed work that finds half of its units cached estimates the time of the other half."""
    clock = iter([0.0, 0.5, 100.0, 100.0, 100.0])
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with LineProgress(log).track("generate texts", 100, "input") as advance:
        advance(50)
        advance(25)

    assert "75%, 0.25 input/s, 100 s left" in log.getvalue()


def test_the_rate_excludes_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that first scores dev for minutes estimates the time of its steps from its steps."""
    clock = iter([0.0, 400.0, 410.0, 420.0, 420.0])
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with LineProgress(log).track("fine-tune the teacher", 10, "round") as advance:
        advance(0)
        advance(1)
        advance(1)

    lines = [line.partition(" ")[2] for line in log.getvalue().splitlines()]
    assert lines[:2] == ["fine-tune the teacher: 10%", "fine-tune the teacher: 20%, 0.10 round/s, 80 s left"]


def test_work_of_unknown_length_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the count and the rate, without a share and a remaining time; no two lines within a few seconds."""
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 20.0])
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with LineProgress(log).track("read unlabeled", None, "record") as advance:
        for amount in (1000, 2000, 500, 500):
            advance(amount)

    lines = [line.partition(" ")[2] for line in log.getvalue().splitlines()]
    assert lines == [
        "read unlabeled: 3000 record, 400.00 record/s",
        "read unlabeled: 4000 record, 200.00 record/s",
        "read unlabeled: done in 20.0 s",
    ]


def test_a_line_comes_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the work reports every two seconds."""
    now = [0.0]
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: now[0])
    times = [0.0]

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            times.append(now[0])
            return len(text)

    with LineProgress(Log()).track("tokenize the sources", 100, "input") as advance:
        for _ in range(50):
            now[0] += 2
            advance(2)

    assert max(later - earlier for earlier, later in pairwise(times)) <= 10
    assert len(set(times)) > 5


def test_brackets_in_titles_are_not_markup() -> None:
    """Names that users give to systems and tasks are shown as they are."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=120)
    with rich_progress(console) as progress, progress.track("distil [bold]mine[/]", 2, "step") as advance:
        advance(1, "loss [red]")
        progress.log("task [dim]")

    assert "distil [bold]mine[/]: done in " in screen.getvalue()
    assert "task [dim]" in screen.getvalue()


def test_rich_progress_prints_lines_where_bars_cannot_be_drawn() -> None:
    """This is the case for a file or a pipe."""
    log = io.StringIO()
    with rich_progress(Console(file=log)) as progress:
        assert isinstance(progress, LineProgress)
