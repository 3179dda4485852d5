"""The teacher's endpoint answers where the student is not sure; where it cannot, the student's answer is returned."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.running_server import serving
from tests.standin import KEY, KEY_VARIABLE, Reply, Standin, capitals, saying, standing_in

from understudy.cli.init_records import describe_records
from understudy.config.task import Format
from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.confidence import Calibration
from understudy.serving.deployment import Answering
from understudy.serving.limits import ServerLimits
from understudy.serving.records import KeepTexts
from understudy.serving.routing import Deferral, UpstreamSettings
from understudy.serving.upstream import TeacherSettings
from understudy.tasks.record import no_log

ALL = Deferral(1.0)
"""Everything is deferred."""
ANSWERED_BY, FAILURE = "x-understudy-answered-by", "x-understudy-teacher-failure"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def standin() -> Iterator[Standin]:
    """The teacher's endpoint."""
    with standing_in() as running:
        yield running


def upstream(standin: Standin, deferral: Deferral = ALL, **settings: Any) -> UpstreamSettings:  # noqa: ANN401 - fields
    """The settings of a server in front of the stand-in."""
    requests = settings.pop("requests", None)
    return UpstreamSettings(TeacherSettings(standin.endpoint(**settings), requests), deferral)


def always(reply: Reply, _request: dict[str, Any]) -> Reply:
    """One reply to every request."""
    return reply


def text_of(response: Any) -> str:  # noqa: ANN401 - of the client library
    """The first text of a chat completion."""
    return str(response.json()["choices"][0]["message"]["content"])


def test_the_student_answers_where_it_is_sure_and_the_teacher_elsewhere(
    finished: Run, predictions: list[Prediction], standin: Standin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The calibrated probability decides. The log has it all but no text and no key; the answers are kept."""
    caplog.set_level(logging.INFO, "understudy")
    calibration = Calibration(2.0, 0.5)
    with serving(finished.folder) as alone:
        confidences = [answer.confidence for answer in Answering.answers(alone.engine, [p.source for p in predictions])]
    middle = sorted(confidences)[len(confidences) // 2]
    deferral = Deferral(calibration.probability(middle), calibration)
    with serving(finished.folder, upstream=upstream(standin, deferral), keep=KeepTexts(tmp_path / "texts")) as served:
        for one, confidence in zip(predictions, confidences, strict=True):
            caplog.clear()
            response = served.chat(one.source, temperature=0, user="someone")
            sure = confidence >= middle
            assert response.headers[ANSWERED_BY] == ("student" if sure else "teacher")
            assert text_of(response) == (one.text if sure else one.source.upper())
            (line,) = [json.loads(record.message) for record in caplog.records if record.name == "understudy.access"]
            assert line["answered_by"] == response.headers[ANSWERED_BY]
            assert line["confidence"] == pytest.approx(confidence, abs=1e-3)
            assert one.source not in caplog.text
            assert KEY not in caplog.text
            if not sure:
                words = len(one.source.split())
                assert response.json()["usage"] == dict(
                    zip(("prompt_tokens", "completion_tokens", "total_tokens"), (words, words, 2 * words), strict=True)
                )
        unsure = [one for one, own in zip(predictions, confidences, strict=True) if own < middle]
        assert served.metric('understudy_answers_total{by="teacher"}') == len(unsure) > 0
        assert served.metric("understudy_teacher_requests") == len(unsure)

    messages = [[{"role": "user", "content": one.source}] for one in unsure]
    assert [request["messages"] for request in standin.requests] == messages
    assert {request["model"] for request in standin.requests} == {"large"}
    assert all((request["temperature"], request["user"]) == (0, "someone") for request in standin.requests)
    assert standin.authorizations == {f"Bearer {KEY}"}  # the client's own token is not sent on
    learned, others = describe_records(tmp_path / "texts", Format(), no_log)
    assert learned.targets == {one.source: (one.source.upper(),) for one in unsure}
    assert [example.source for example in others] == [one.source for one in predictions if one not in unsure]


def test_several_texts_streams_and_prompts_are_deferred(
    finished: Run, predictions: list[Prediction], standin: Standin
) -> None:
    """Through the official client, with its own types: n texts, one piece of a stream, a text for each prompt."""
    one, two = predictions[:2]
    messages: Any = [{"role": "user", "content": one.source}]
    with serving(finished.folder, upstream=upstream(standin)) as served:
        create: Any = served.client.chat.completions.create
        several = create(model="tiny", messages=messages, n=3, temperature=1.0, logprobs=True, max_tokens=7)
        assert [choice.message.content for choice in several.choices] == [one.source.upper()] * 3
        tokens = several.choices[0].logprobs.content
        assert "".join(token.token for token in tokens) == " ".join(one.source.upper().split())
        assert {token.logprob for token in tokens} == {-0.1}
        assert several.usage.completion_tokens == 3 * len(one.source.split())
        assert (standin.requests[-1]["n"], standin.requests[-1]["max_tokens"]) == (3, 7)

        options = {"include_usage": True}
        chunks = list(create(model="gpt-4o", messages=messages, stream=True, stream_options=options))
        pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        assert [piece for piece in pieces if piece] == [one.source.upper()]
        assert chunks[-1].usage.prompt_tokens == len(one.source.split())
        assert "stream" not in standin.requests[-1]

        prompts = served.client.completions.create(model="tiny", prompt=[one.source, two.source], stop="\n\n")
        assert [choice.text for choice in prompts.choices] == [one.source.upper(), two.source.upper()]
        assert standin.requests[-1]["stop"] == "\n\n"


def test_a_cut_text_is_returned_and_not_kept_as_a_target(finished: Run, standin: Standin, tmp_path: Path) -> None:
    """A client that asks for few tokens gets half a text, which no student is to learn."""

    def cut(request: dict[str, Any]) -> Reply:
        found = json.loads(saying("half a")(request)[1])
        found["choices"][0]["finish_reason"] = "length"
        return 200, json.dumps(found).encode()

    standin.reply = cut
    with serving(finished.folder, upstream=upstream(standin), keep=KeepTexts(tmp_path / "texts")) as served:
        response = served.chat("wind 3", max_tokens=2)
        assert (response.headers[ANSWERED_BY], text_of(response)) == ("teacher", "half a")
        standin.reply = capitals
        served.chat("wind 4")
    learned, _ = describe_records(tmp_path / "texts", Format(), no_log)
    assert learned.targets == {"wind 4": ("WIND 4",)}


def test_what_the_endpoint_refuses_to_be_called_is_renamed(finished: Run, standin: Standin) -> None:
    """As with an API teacher: once, not for each request."""

    def strict(request: dict[str, Any]) -> tuple[int, bytes]:
        if "max_tokens" in request:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, json.dumps({"error": {"message": message, "param": "max_tokens"}}).encode()
        return capitals(request)

    standin.reply = strict
    with serving(finished.folder, upstream=upstream(standin, max_tokens=99)) as served:
        responses = [served.chat("wind 3"), served.chat("wind 4", max_tokens=7)]
    assert [text_of(response) for response in responses] == ["WIND 3", "WIND 4"]
    assert [request.get("max_completion_tokens") for request in standin.requests] == [None, 99, 7]


def test_where_the_teacher_fails_the_student_answers(
    finished: Run, predictions: list[Prediction], standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the endpoint does: no error, but a mark and a count; after a refused key nothing is sent for a while."""
    source, text = predictions[0].source, predictions[0].text
    echo = json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode()
    no_text = json.dumps({"choices": [], "usage": {}}).encode()
    faults: dict[str, tuple[tuple[int, bytes], str]] = {
        "error": ((500, echo), "status"),
        "garbage": ((200, b"\xff<html>"), "malformed"),
        "nothing": ((200, no_text), "malformed"),
        "refusal": (saying("I'm sorry, I cannot do that.")({"model": "large"}), "rejected"),
        "input": ((400, b'{"error": {"message": "too long", "code": "context_length_exceeded"}}'), "status"),
        "busy": ((429, b"{}"), "rate_limited"),
        "key": ((401, echo), "refused"),
        "after that": ((200, b"{}"), "paused"),
    }
    with serving(finished.folder, upstream=upstream(standin)) as served:
        for name, (reply, reason) in faults.items():
            standin.reply = partial(always, reply)
            response = served.chat(source)
            assert (response.status_code, text_of(response)) == (200, text), name
            assert (response.headers[ANSWERED_BY], response.headers[FAILURE]) == ("student", reason), name
        for reason, count in {"status": 2, "malformed": 2, "rejected": 1, "refused": 1, "paused": 1}.items():
            assert served.metric(f'understudy_teacher_failures_total{{reason="{reason}"}}') == count
    assert len(standin.requests) == len(faults) - 1
    assert "wrong key ***" in caplog.text
    assert KEY not in caplog.text


def test_after_five_failures_nothing_is_sent_for_a_while(
    finished: Run, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    """So that no client waits for an endpoint that is down; the log says so, without the endpoint's words."""
    standin.reply = partial(always, (500, b'{"error": {"message": "cannot read: wind 3"}}'))
    with serving(finished.folder, upstream=upstream(standin)) as served:
        marks = [served.chat("wind 3").headers[FAILURE] for _ in range(6)]
    assert marks == ["status"] * 5 + ["paused"]
    assert len(standin.requests) == 5
    (line,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert line == "WARNING: the student answers for the teacher for 1 s: HTTP status 500"


def test_requests_that_fail_together_pause_once(
    finished: Run, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    """They were sent before it was known that the endpoint is down, so the pause is as short as after five."""
    standin.released.clear()
    standin.reply = partial(always, (500, b"{}"))
    prompts = [f"wind {i}" for i in range(12)]
    with serving(finished.folder, upstream=upstream(standin)) as served, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.client.completions.create, model="tiny", prompt=prompts)
        while len(standin.requests) < len(prompts):
            pass
        standin.released.set()
        assert len(waiting.result().choices) == len(prompts)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["WARNING: the student answers for the teacher for 1 s: HTTP status 500"]


def test_a_late_teacher_and_a_busy_one(finished: Run, predictions: list[Prediction], standin: Standin) -> None:
    """The endpoint has its own time and its own number of requests; the rest of the request's time is kept free."""
    source, text = predictions[0].source, predictions[0].text
    standin.released.clear()
    for limits in (ServerLimits(teacher_s=0.1), ServerLimits(timeout_s=2.0)):
        with serving(finished.folder, limits, upstream=upstream(standin)) as served:
            late = served.chat(source)
            assert (late.status_code, text_of(late), late.headers[FAILURE]) == (200, text, "timeout")
    one = ServerLimits(teacher_requests=1)
    with serving(finished.folder, one, upstream=upstream(standin)) as served, ThreadPoolExecutor(1) as pool:
        before = len(standin.requests)
        first = pool.submit(served.chat, source)
        while len(standin.requests) == before:
            pass
        assert served.chat(source).headers[FAILURE] == "busy"
        standin.released.set()
        assert first.result().headers[ANSWERED_BY] == "teacher"


def test_the_budget_holds_in_requests_and_in_money(finished: Run, standin: Standin) -> None:
    """A request counts at its maximum cost before it is sent, and at its cost afterwards."""
    with serving(finished.folder, upstream=upstream(standin, requests=2)) as served:
        marks = [served.chat("wind 3").headers.get(FAILURE, "answered") for _ in range(4)]
        assert marks == ["answered", "answered", "budget", "budget"]
    # At most (6 bytes + 64 of the chat's form) + 10 tokens, that is 80; each costs 2 + 2, so three fit into 90.
    priced: Any = {"price": {"input": 1e6, "output": 1e6}, "budget": 90.0, "max_tokens": 10}
    with serving(finished.folder, upstream=upstream(standin, **priced)) as served:
        marks = [served.chat("wind 3").headers.get(FAILURE, "answered") for _ in range(4)]
        assert marks == ["answered", "answered", "answered", "budget"]
        assert served.metric("understudy_teacher_cost") == 12
