"""Both systems answer a share of the requests: no client waits for the second one, and their agreement is counted."""

import json
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sacrebleu
from tests.running_server import Served, serving
from tests.standin import KEY, KEY_VARIABLE, Standin, saying, standing_in

from understudy.errors import StoreError
from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.ledger import FEWEST_PAIRS, KEPT_LOW, Ledger, wilson
from understudy.serving.routing import UpstreamSettings
from understudy.serving.shadow import ShadowSettings
from understudy.serving.upstream import TeacherSettings


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def standin(predictions: list[Prediction]) -> Iterator[Standin]:
    """The teacher's endpoint: for every second source its text is the student's."""
    texts = {one.source: one.text if number % 2 else one.source for number, one in enumerate(predictions)}
    with standing_in() as running:
        running.reply = lambda request: saying(texts[request["messages"][-1]["content"]])(request)
        yield running


def until(true: Callable[[], bool]) -> None:
    """Returns once a fact that a server reports is there; the questions themselves take time."""
    while not true():
        pass


def agreement(served: Served) -> dict[str, object]:
    """What the server says of it."""
    found = served.http.get(f"{served.url.removesuffix('/v1')}/shadow").json()
    assert isinstance(found, dict)
    return found


def test_before_the_switch_clients_get_the_teachers_texts(
    finished: Run, predictions: list[Prediction], standin: Standin, tmp_path: Path
) -> None:
    """All are answered while the student's engine stands still; afterwards each pair is counted."""
    shadow = ShadowSettings(1.0, "teacher", tmp_path / "shadow.json")
    settings = UpstreamSettings(TeacherSettings(standin.endpoint()), shadow=shadow)
    with serving(finished.folder, released=False, upstream=settings) as served:
        shown = []
        for one in predictions:
            response = served.chat(one.source)
            assert response.headers["x-understudy-answered-by"] == "teacher"
            shown.append(response.json()["choices"][0]["message"]["content"])
        assert shown == [one.text if number % 2 else one.source for number, one in enumerate(predictions)]
        assert agreement(served)["pairs"] == 0
        served.engine.released.set()
        until(lambda: served.metric("understudy_shadow_pairs") == len(predictions))
        found = agreement(served)
        assert served.metric("understudy_shadow_chrf") == pytest.approx(found["chrf"])

    assert found["exact_match"] == 50
    scores = [sacrebleu.sentence_chrf(one.text, [text]).score for one, text in zip(predictions, shown, strict=True)]
    assert found["chrf"] == pytest.approx(statistics.fmean(scores))
    assert found["chrf_interval"] is None  # of so few pairs
    low = found["latest_low"]
    assert isinstance(low, list)
    assert sorted(one["chrf"] for one in low) == pytest.approx(sorted(one for one in scores if one < 50), abs=0.01)
    assert {name for one in low for name in one} == {"id", "chrf"}
    assert json.loads((tmp_path / "shadow.json").read_text()) == found


def test_after_the_switch_clients_get_the_students_texts(
    finished: Run, predictions: list[Prediction], standin: Standin
) -> None:
    """All are answered while the teacher's endpoint stands still; what it does not answer is no pair."""
    settings = UpstreamSettings(TeacherSettings(standin.endpoint(), 3), shadow=ShadowSettings(1.0, "student"))
    standin.released.clear()
    with serving(finished.folder, log_texts=True, upstream=settings) as served:
        for one in predictions[:4]:
            response = served.chat(one.source)
            assert response.headers["x-understudy-answered-by"] == "student"
            assert response.json()["choices"][0]["message"]["content"] == one.text
        standin.released.set()
        until(lambda: served.metric("understudy_shadow_pairs") == 3)
        until(lambda: served.metric("understudy_shadow_skipped_total") == 1)  # the budget is of three requests
        low = agreement(served)["latest_low"]
    assert isinstance(low, list)
    texts = {(one["source"], one["student"], one["teacher"]) for one in low}
    assert texts <= {(one.source, one.text, one.source) for one in predictions[:4:2]}  # in the log, so here too


def test_without_a_shadow_there_is_no_agreement(served: Served) -> None:
    """The path says which option is missing."""
    response = served.http.get(f"{served.url.removesuffix('/v1')}/shadow")
    assert response.status_code == 404
    assert "--shadow" in response.json()["error"]["message"]


def test_processes_count_together(tmp_path: Path) -> None:
    """The budget is one for all; a request of a process that was killed keeps its maximum cost."""
    path = tmp_path / "ledger.sqlite"
    one, other = Ledger(path, "a"), Ledger(path, "a")
    assert one.reserve(4.0, budget=10.0, requests=None)
    assert other.reserve(6.0, budget=10.0, requests=None)
    assert not one.reserve(0.5, budget=10.0, requests=None)
    other.settle(6.0, 1.0)
    assert one.spent() == (2, 5.0)
    assert not one.reserve(0.0, budget=None, requests=2)
    one.close()
    again = Ledger(path, "b")
    assert again.spent() == (2, 5.0)
    other.add_pair("x", 80.0, exact=False, texts=None)
    assert (other.agreement().pairs, again.agreement().pairs) == (1, 0)
    other.close()
    again.close()


def test_a_ledger_that_cannot_be_written_lets_nothing_be_spent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on without the teacher; a file that is none is refused at the start."""
    ledger = Ledger(None, "a")
    ledger.close()
    assert not ledger.reserve(1.0, budget=None, requests=None)
    assert "ledger cannot be written" in caplog.text
    (tmp_path / "ledger.sqlite").write_text("not a database, but a text of some length " * 50)
    with pytest.raises(StoreError, match=r"cannot be used.*move it away"):
        Ledger(tmp_path / "ledger.sqlite", "a")


def test_intervals_are_those_of_the_textbook() -> None:
    """Wilson's of shares, the normal one of means; of low pairs the latest are listed."""
    assert wilson(0, 10) == pytest.approx((0, 27.75), abs=0.01)
    assert wilson(10, 10) == pytest.approx((72.25, 100), abs=0.01)
    assert wilson(81, 263) == pytest.approx((25.53, 36.62), abs=0.01)  # Newcombe 1998, table I
    scores = [40.0 + number % 7 for number in range(2 * FEWEST_PAIRS)]
    ledger = Ledger(None, "a")
    for number, score in enumerate(scores):
        ledger.add_pair(str(number), score, exact=False, texts=None)
    found = ledger.agreement()
    ledger.close()
    half = 1.959964 * statistics.stdev(scores) / math.sqrt(len(scores))
    mean = statistics.fmean(scores)
    assert found.chrf_interval == pytest.approx((mean - half, mean + half))
    assert [one["id"] for one in found.latest_low] == [str(number) for number in range(59, 59 - KEPT_LOW, -1)]
