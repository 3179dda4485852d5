"""Load and limits: concurrent requests share batches, and what is too much gets a status and a sentence."""

import json
import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2
import openai
import pytest
from tests.running_server import serving

from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.http_process import bound_socket
from understudy.serving.limits import ServerLimits


def until(true: Callable[[], bool]) -> None:
    """Returns once a fact that a server reports is there; the questions themselves take time."""
    while not true():
        pass


def error(response: httpx2.Response) -> tuple[int, str]:
    """The status and the sentence of an error in OpenAI's shape."""
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return response.status_code, found["message"]


def test_concurrent_requests_share_batches_and_keep_their_texts(finished: Run, predictions: list[Prediction]) -> None:
    """While the engine works on one request, twenty wait; they are one call, and each gets its own text.

    Requests with other settings are in a batch of their own, one with a seed is alone.
    """
    with serving(finished.folder, released=False) as held, ThreadPoolExecutor(30) as pool:
        first = pool.submit(held.chat, predictions[0].source)
        until(lambda: held.engine.batches == [1])
        wanted = [predictions[i % len(predictions)] for i in range(20)]
        waiting = [pool.submit(held.chat, one.source) for one in wanted]
        other = [pool.submit(held.chat, one.source, max_tokens=2) for one in wanted[:3]]
        seeded = pool.submit(held.chat, wanted[0].source, temperature=1, seed=3)
        until(lambda: held.metric("understudy_queue_sources") == 24)
        held.engine.released.set()
        texts = [one.result().json()["choices"][0]["message"]["content"] for one in waiting]
        assert texts == [one.text for one in wanted]
        assert all(one.result().status_code == 200 for one in [*other, seeded, first])
    assert sorted(held.engine.batches) == [1, 1, 3, 20]


def test_a_batch_is_limited_in_tokens(finished: Run, predictions: list[Prediction]) -> None:
    """Sources beyond the limit are in the next call."""
    source = predictions[0].source
    with serving(finished.folder, ServerLimits(batch_tokens=1), released=False) as held:
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(held.chat, source) for _ in range(4)]
            until(lambda: held.metric("understudy_queue_sources") == 3)
            held.engine.released.set()
        assert [one.result().status_code for one in waiting] == [200] * 4
    assert held.engine.batches == [1, 1, 1, 1]


def test_a_full_queue_is_429_and_a_late_answer_504(finished: Run) -> None:
    """Nothing that is accepted is lost by it: after the engine goes on, those that wait are answered."""
    with serving(finished.folder, ServerLimits(queue=2, batch_tokens=1), released=False) as held:
        with ThreadPoolExecutor(4) as pool:
            accepted: list[Future[httpx2.Response]] = [pool.submit(held.chat, "wind 3")]
            until(lambda: held.engine.batches == [1])
            accepted += [pool.submit(held.chat, f"wind {i}") for i in range(2)]
            until(lambda: held.metric("understudy_queue_sources") == 2)
            refused = held.chat("wind 4")
            assert error(refused) == (429, "2 sources wait already; try again later")
            assert refused.headers["retry-after"] == "1"
            with pytest.raises(openai.RateLimitError):
                held.client.completions.create(model="tiny", prompt="wind 5")
            held.engine.released.set()
        assert [one.result().status_code for one in accepted] == [200, 200, 200]

    with serving(finished.folder, ServerLimits(timeout_s=0.05), released=False) as late:
        assert error(late.chat("wind 3")) == (504, "no answer within 0.05 s; try again")
        assert error(late.chat("wind 4"))[0] == 504
        late.engine.released.set()
    assert late.engine.batches == [1]  # the second one was cancelled before its turn


def test_large_bodies_are_413_and_long_sources_400(finished: Run) -> None:
    """The message holds what was found and the limit; nothing is truncated."""
    with serving(finished.folder, ServerLimits(body_bytes=2_000)) as small:
        status, sentence = error(small.chat("wind " * 20_000))
        assert status == 413
        assert "bytes and the limit is 2000" in sentence
        status, sentence = error(small.chat("wind " * 300))
        assert status == 400
        assert "tokens and the limit is 160" in sentence
        assert small.chat("wind 3").status_code == 200
    assert small.engine.batches == [1]


def test_a_token_is_required_where_one_is_set(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, or with another one, nothing is answered; health needs none."""
    monkeypatch.setenv("STUDENT_TOKEN", "secret ü")
    with serving(finished.folder, token_variable="STUDENT_TOKEN") as closed:  # noqa: S106 - a variable's name
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            for path in ("chat/completions", "models"):
                method = "GET" if path == "models" else "POST"
                response = closed.http.request(method, f"{closed.url}/{path}", headers=header)
                assert error(response)[0] == 401
        right = {b"Authorization": "Bearer secret ü".encode()}
        assert closed.http.get(f"{closed.url}/models", headers=right).status_code == 200
        assert closed.http.get(f"{closed.url.removesuffix('/v1')}/health").status_code == 200


def test_the_access_log_has_texts_only_when_asked(finished: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A JSON line for each request: time, status, milliseconds, tokens, confidence."""
    source = "a secret of Ostby"
    for log_texts in (False, True):
        caplog.clear()
        with serving(finished.folder, log_texts=log_texts) as logging_server, caplog.at_level(logging.INFO):
            response = logging_server.chat(source)
            logging_server.chat(source, tools=[source])
        answered, refused = (json.loads(one.message) for one in caplog.records if one.name == "understudy.access")
        assert answered["id"] == response.json()["id"] == response.headers["x-request-id"]
        assert (answered["path"], answered["status"], refused["status"]) == ("/v1/chat/completions", 200, 400)
        assert answered["source_tokens"] == response.json()["usage"]["prompt_tokens"]
        assert 0 < answered["confidence"] <= 1
        assert answered.get("sources") == ([source] if log_texts else None)
        assert (source in caplog.text) == log_texts


def test_responses_do_not_wait_for_the_acknowledgement_of_their_head() -> None:
    """The option is inherited by accepted connections; without it each response takes 40 ms longer."""
    with (
        bound_socket("127.0.0.1", 0) as (listener, url),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
