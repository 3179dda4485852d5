import pytest

from understudy.progress import NoProgress, Progress


def test_the_default_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Python users see no output unless they pass a progress; the work runs the same."""
    progress: Progress = NoProgress()
    with progress.track("reading", None, "page") as advance:
        advance(1)
        advance(0.5, "half a page")
    progress.log("done")

    assert capsys.readouterr() == ("", "")
