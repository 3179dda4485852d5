"""Requests over the network: what is not sent costs nothing, and no reply outlives its deadline or its limit."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from scripts.hostile_bodies import KINDS
from scripts.hostile_replies import run as run_hostile
from tests.api_teacher.scripted import answering

from understudy.api_teacher.client import LONGEST_RETRY_AFTER_S, _retry_after_s
from understudy.api_teacher.collect import collect
from understudy.api_teacher.response_body import parse_response_body
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.records import Example

PRICED = {"model": "m", "key": "SOME_KEY", "attempts": 2, "price": {"input": 1.0, "output": 1.0}}
EXAMPLES = [Example(f"q{number}", f"question {number}") for number in range(50)]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "any word")
    monkeypatch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize(
    "url", ["notaurl", "ftp://a/v1", "http://", "http://a:b/v1", "http://user:pw@a/v1", "http://a b"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """The message has the address, unless it holds a password."""
    with pytest.raises(ValidationError, match=r"base_url[\s\S]*address"):
        Endpoint.model_validate(PRICED | {"base_url": url})


@pytest.mark.parametrize("key", ["abc123\n", "schlüssel", " xyz789"])
def test_a_key_that_no_header_can_hold_is_refused(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and not the key; no request is recorded."""
    monkeypatch.setenv("SOME_KEY", key)

    with pytest.raises(GenerationError, match=r"SOME_KEY has \d+ characters.*cannot be sent") as error:
        collect(EXAMPLES, Endpoint.model_validate(PRICED), out=tmp_path)
    assert key.strip() not in str(error.value)
    assert "sent" not in (tmp_path / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    ("url", "cause"),
    [("http://127.0.0.1:9/v1", r"Errno 111"), ("http://no-such-host.invalid/v1", "not known|resolution")],
)
def test_a_dead_server_stops_the_command_and_costs_nothing(url: str, cause: str, tmp_path: Path) -> None:
    """One input is tried; address and cause are in the message and in failed.jsonl."""
    with pytest.raises(GenerationError, match=rf"{url} cannot be reached: .*({cause}).*nothing was sent"):
        collect(EXAMPLES, Endpoint.model_validate(PRICED | {"base_url": url}), out=tmp_path)

    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    failed = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [event["cost"] for event in events if "ended" in event] == [0.0, 0.0]
    assert url in failed[0]["reason"]
    assert [row["reason"] for row in failed[1:]] == ["not requested yet"] * 49


def test_a_server_that_dies_midway_is_not_asked_for_every_input(tmp_path: Path) -> None:
    """After 20 inputs in a row without an answer the command stops."""
    count = [0]

    def respond(_method: str, _path: str, _body: object) -> tuple[int, object]:
        count[0] += 1
        return 500, {}

    with answering(respond) as address:
        endpoint = Endpoint.model_validate(PRICED | {"base_url": address, "smoke_inputs": 0, "concurrency": 1})
        with pytest.raises(GenerationError, match=r"20 inputs in a row failed after 2 attempts each.*HTTP status 500"):
            collect(EXAMPLES, endpoint, out=tmp_path)
    assert count[0] == 2 + 40  # the probe, and 20 inputs


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("inf", LONGEST_RETRY_AFTER_S), ("1e9", LONGEST_RETRY_AFTER_S), ("nan", 0), ("-5", 0), ("2", 2)],
)
def test_the_pause_that_a_server_requests_is_capped(header: str, seconds: float) -> None:
    """Ten minutes at most."""
    assert _retry_after_s(header) == seconds


@pytest.mark.parametrize(
    "change",
    [{"logprob": None}, {"logprob": "-1"}, {"logprob": float("inf")}, {"logprob": float("nan")}, {"bytes": [300]}],
)
def test_a_text_with_an_unusable_log_probability_is_kept_as_text(change: dict[str, object]) -> None:
    """Its log-probabilities are dropped before they are journalled."""
    position = {"token": "yes", "logprob": -0.1, "bytes": None, "top_logprobs": [], **change}
    choice = {"message": {"content": "yes"}, "finish_reason": "stop", "logprobs": {"content": [position]}}
    endpoint = Endpoint(model="m", top_logprobs=1)
    (parsed,) = parse_response_body(json.dumps({"choices": [choice]}).encode(), endpoint, 1).choices

    assert (parsed.text, parsed.logprobs) == ("yes", None)


def test_hostile_replies_leave_every_input_answered_or_listed(tmp_path: Path) -> None:
    """Half of the replies are of 70 hostile kinds; the script checks the inputs, the budget and the memory."""
    figures = run_hostile(150, 7, tmp_path, budget=12.0)

    assert len(KINDS) > 70
    assert figures["answered"] > 100
    assert figures["billed by the server's true count"] <= figures["spent"] <= 12.0
    assert figures["memory above idle, MB"] < 300
