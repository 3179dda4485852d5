import pytest

from understudy.progress import NoProgress, Progress


def test_silence_hears_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A library user who does not ask hears nothing; work goes on as with a listener."""
    progress: Progress = NoProgress()
    with progress.work("reading", None, "page") as advance:
        advance(1)
        advance(0.5, "half a page")
    progress.say("done")

    assert capsys.readouterr() == ("", "")
