from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from understudy.progress import MANY, NoProgress, Progress, ProgressCallback, reported, track_many


def test_the_default_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Python users see no output unless they pass a progress; the work runs the same."""
    progress: Progress = NoProgress()
    with progress.track("reading", None, "page") as advance:
        advance(1)
        advance(0.5, "half a page")
    progress.log("done")

    assert capsys.readouterr() == ("", "")


class Tracked(NoProgress):
    """A progress that keeps what was reported."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.done = 0.0

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Adds up the amounts."""
        self.titles.append(title)

        def advance(amount: float, note: str = "", values: object = None) -> None:
            self.done += amount

        yield advance


@pytest.mark.parametrize("count", [0, 1, MANY, MANY + 1, MANY + 2500])
def test_items_are_reported_once_there_are_many(count: int) -> None:
    """They arrive unchanged; all are counted, except perhaps the last few."""
    progress = Tracked()

    assert list(reported(progress, "read", range(count), "record")) == list(range(count))
    assert progress.titles == (["read"] if count > MANY else [])
    assert progress.done == (count - 1 if count > MANY else 0)


def test_work_on_few_units_is_not_shown() -> None:
    """On many it is."""
    progress = Tracked()
    for count in (MANY, MANY + 1):
        with track_many(progress, f"tokenize {count}", count, "input") as advance:
            advance(count)

    assert progress.titles == [f"tokenize {MANY + 1}"]
