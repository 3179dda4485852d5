"""The page of `understudy play`, over HTTP; `scripts/click_through_play.py` uses a browser."""

import json
import math
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import httpx2
import pytest
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.errors import ConfigError
from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.deploy import confidence_of
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.inspect.play import play_settings
from understudy.pipeline.run import Run
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Prediction
from understudy.serving.confidence import Calibration, DeferralPoint, SystemConfidence
from understudy.serving.deployment import Answer, Answering, TextSettings, TokenLogprob
from understudy.serving.play import PAGE_FOLDER, play_server
from understudy.serving.play_facts import OpenSystem, PlaySettings, input_facts, open_system, pieces_of, run_facts


@contextmanager
def running(settings: PlaySettings) -> Iterator[httpx2.Client]:
    """A client of a page's server."""
    with play_server(settings, host="127.0.0.1", port=0) as (server, listener, url):
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx2.Client(base_url=url, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def settings(finished: Run) -> PlaySettings:
    """What the page shows of the finished run."""
    return play_settings(finished.folder)


@pytest.fixture(scope="module")
def page(settings: PlaySettings) -> Iterator[httpx2.Client]:
    """A client of its server."""
    with running(settings) as client:
        yield client


def test_both_systems_answer_as_they_were_evaluated(
    page: httpx2.Client, finished: Run, predictions: list[Prediction]
) -> None:
    """The texts are the evaluated ones; the pieces are the text, and their mean probability is the confidence."""
    evaluated = {
        "student": predictions,
        "teacher": read_predictions(open_run(finished.folder).predictions("teacher") / "test.jsonl"),
    }
    known = confidence_of(finished.folder)
    assert known is not None
    assert page.get("api/run").json()["curve"][-1]["deferred"] == known.dev[-1].deferred == 1.0
    assert page.get("api/run").json()["systems"] == {"student": "joint_teaching", "teacher": "teacher"}
    for name, rows in evaluated.items():
        for one in rows[:3]:
            answer = page.post(f"api/answers/{name}", json={"source": one.source}).json()
            assert answer["text"] == one.text
            assert "".join(text for text, _ in answer["pieces"]).strip() == one.text
            together = sum(math.log(probability) for _, probability in answer["pieces"])
            assert math.exp(together / answer["tokens"]) == pytest.approx(answer["confidence"], rel=1e-3)
            assert answer["milliseconds"] > 0
            assert answer["no_tokens"] is None
            sure = known.calibration.probability(answer["confidence"])
            assert answer["probability"] == (sure if name == "student" else None)


def test_test_inputs_are_found_and_shown_with_their_references(page: httpx2.Client, settings: PlaySettings) -> None:
    """Searched in any case; an index that is not there is refused."""
    everything = page.get("api/inputs").json()
    assert everything["found"] == len(settings.inputs) == 8
    third = settings.inputs[2]
    found = page.get("api/inputs", params={"contains": third.source.upper()}).json()
    assert [2, third.source[:200]] in found["inputs"]
    assert page.get("api/inputs", params={"contains": "\x00"}).json() == {"found": 0, "inputs": []}
    shown = page.get("api/inputs/2").json()
    assert shown == {"source": third.source, "references": list(third.targets), "recorded": None}
    refused = page.get("api/inputs/8")
    assert (refused.status_code, refused.json()) == (400, {"error": "there is no test input 8, only 0 to 7"})


def test_a_teacher_behind_an_api_is_shown_by_its_recorded_texts(settings: PlaySettings) -> None:
    """With the items in which the text and its source differ."""
    recorded = ["", "", "On 3 May 2024 it rains in Oslo.", *[""] * 5]
    inputs = [replace(one, source="rain in Bergen, 2024-05-03, 7 degrees") for one in settings.inputs]
    facts = input_facts(replace(settings, inputs=inputs, recorded=recorded), 2)["recorded"]
    assert facts["text"] == recorded[2]
    assert list(facts["missing"]) == ["7", "Bergen"]
    assert list(facts["invented"]) == ["Oslo"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"source": " \n"}, "the input is empty"),
        ({"source": "a" * 10**6}, "the body has 1000014 bytes and the limit is 1000000; send less"),
        ({"source": "word " * 500}, r"the source has \d+ tokens and the limit is 160; shorten it"),
        ({"source": 1}, "should be a valid string"),
        ({"source": "a", "n": 1}, "not permitted"),
        ("no JSON", "Invalid JSON"),
        ('{"source": "\\ud800"}', "Invalid JSON"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(page: httpx2.Client, body: object, sentence: str) -> None:
    """For both systems, without a traceback."""
    content = body if isinstance(body, str) else json.dumps(body)
    for name in ("student", "teacher"):
        response = page.post(f"api/answers/{name}", content=content)
        assert response.status_code == 400
        assert re.search(sentence, response.json()["error"])
        assert "\n" not in response.json()["error"]


def test_markup_is_an_ordinary_input(page: httpx2.Client) -> None:
    """JSON carries it as text; an unknown system is refused by name."""
    assert page.post("api/answers/student", json={"source": "<script>alert(1)</script>"}).status_code == 200
    refused = page.post("api/answers/other", json={"source": "a"})
    assert refused.status_code == 400
    assert "only student, teacher" in refused.json()["error"]


def test_the_page_needs_no_other_server(page: httpx2.Client) -> None:
    """Its files name no other address, the policy of the page forbids others, and HTML is never made of texts."""
    names = sorted(path.name for path in PAGE_FOLDER.iterdir())
    assert names == ["index.html", "play.css", "play.js"]
    for name in (*names, "page.css", ""):
        text = page.get(name).raise_for_status().text
        assert not re.search(r"https?:|//\w|@import|innerHTML|insertAdjacentHTML|document\.write", text)
    assert "default-src 'self'" in page.get("").text
    assert re.findall(r'(?:href|src)="([^"]+)"', page.get("").text) == ["data:,", "page.css", "play.css", "play.js"]


def test_a_page_elsewhere_cannot_read_texts(page: httpx2.Client) -> None:
    """A name that another site resolves to this machine is refused."""
    assert page.get("api/run", headers={"host": "other.example"}).status_code == 400
    assert page.get("api/run", headers={"host": "localhost:7860"}).status_code == 200


class HeldAnswering(Answering):
    """A system that generates once it is released, and keeps what it was given."""

    begun = Event()
    released = Event()
    rows: Sequence[Sequence[int]] = ()
    called = 0

    def texts(
        self, rows: Sequence[Sequence[int]], settings: TextSettings, progress: ProgressCallback = NO_PROGRESS
    ) -> list[tuple[Answer, ...]]:
        """See `Answering`."""
        if settings.max_tokens > 2:  # not the first, short text
            HeldAnswering.called += 1
            self.begun.set()
            self.released.wait()
        return super().texts(rows, settings, progress)


def test_an_abandoned_request_is_not_generated(settings: PlaySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a slow system works, the page may give up an input; the next one does not wait for its text."""

    def held(answering: Answering, example: str) -> OpenSystem:
        answering.__class__ = HeldAnswering
        return open_system(answering, example)

    monkeypatch.setattr("understudy.serving.play.open_system", held)
    student = replace(settings, deployments={"student": settings.deployments["student"]})
    with running(student) as client:
        replies: list[int] = []
        asking = [
            Thread(target=lambda: replies.append(client.post("api/answers/student", json={"source": "a"}).status_code))
            for _ in range(2)
        ]
        asking[0].start()
        HeldAnswering.begun.wait()
        body = b'{"source": "given up"}'
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as given_up:
            head = f"POST /api/answers/student HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            given_up.sendall(head.encode() + body)
        asking[1].start()
        HeldAnswering.released.set()
        for thread in asking:
            thread.join()
    assert replies == [200, 200]
    assert HeldAnswering.called == 2


def test_with_a_calibration_the_students_probability_and_the_curve_are_shown(settings: PlaySettings) -> None:
    """The teacher's text has a confidence alone; without a calibration there is no curve."""
    point = DeferralPoint(0.3, 0.25, 40.0, 38.0, 42.0, 0.98, 39.0, 1.0, 0.5, 1.5)
    known = SystemConfidence(Calibration(temperature=2.0, offset=1.0), "bleu", (point,))
    with running(replace(settings, confidence=known)) as client:
        facts = client.get("api/run").json()
        answers = [client.post(f"api/answers/{name}", json={"source": "a b"}).json() for name in ("student", "teacher")]
    assert (facts["calibrated"], facts["metric"]) == (True, "bleu")
    assert facts["curve"] == [{"threshold": 0.3, "deferred": 0.25, "score": 40.0, "quality": 0.98}]
    sure = answers[0]["confidence"]
    by_hand = 1 / (1 + math.exp(-(math.log(sure / (1 - sure)) / 2.0 + 1.0)))
    assert answers[0]["probability"] == pytest.approx(by_hand)
    assert answers[1]["probability"] is None
    facts = run_facts(replace(settings, confidence=None))
    assert (facts["calibrated"], facts["curve"]) == (False, [])


def test_pieces_are_whole_characters() -> None:
    """Tokens within a character are one piece; bytes that are no text are shown as such; the end is empty."""
    tokens = [(b"a ", 0.5), (b"\xe2\x82", 0.5), (b"\xac!", 0.25), (b"\xff", 1.0), (b"", 0.75), (b"\xe2", 0.5)]
    pieces = pieces_of([TokenLogprob(content, math.log(share)) for content, share in tokens])
    assert [text for text, _ in pieces] == ["a ", "€!", "\ufffd", "", "\ufffd"]
    assert [probability for _, probability in pieces] == pytest.approx([0.5, 0.125, 1.0, 0.75, 0.5])


def test_without_the_extra_the_command_names_it(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with what to install."""
    monkeypatch.setitem(sys.modules, "understudy.serving.play", None)
    done = CliRunner().invoke(app, ["play", str(Path(finished.folder))])
    assert isinstance(done.exception, ConfigError)
    assert "install understudy[play]" in str(done.exception)
