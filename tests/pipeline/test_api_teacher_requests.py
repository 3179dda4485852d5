"""What a run with an API teacher requests and pays: nothing twice, nothing over the budget, nothing in vain."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.api_teacher.server import RequestLog, completion
from tests.pipeline.api_teacher_recipe import (
    HELD_OUT,
    INPUTS,
    labeled_files,
    recipe_of,
    request_responses,
    serving,
)

from understudy.errors import DataError, GenerationError
from understudy.pool.pool import PseudoTargetPool

LEARNED = len(INPUTS) - HELD_OUT
SMOKE_INPUTS = 20


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "any word")
    monkeypatch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)


@pytest.fixture
def log() -> RequestLog:
    """The requests that reach the server."""
    return RequestLog(share=0.0)


@pytest.fixture
def address(log: RequestLog) -> Iterator[str]:
    """The address of a server without faults."""
    with serving(log) as running:
        yield running


def test_more_texts_request_only_those_that_are_missing(tmp_path: Path, log: RequestLog, address: str) -> None:
    """From two texts of each input to three, each needs one more request."""
    request_responses(recipe_of(tmp_path, address), tmp_path / "runs")
    before = sum(log.requests.values())
    facts = request_responses(recipe_of(tmp_path, address, pseudo_targets={"per_input": 3}), tmp_path / "runs").facts

    assert sum(log.requests.values()) - before == LEARNED
    assert facts.texts == 3 * LEARNED


def test_responses_outlive_the_store(tmp_path: Path, log: RequestLog, address: str) -> None:
    """The journal is in a folder next to the store, so an emptied store costs no request."""
    first = request_responses(recipe_of(tmp_path, address), tmp_path / "runs")
    before = sum(log.requests.values())
    shutil.rmtree(tmp_path / "runs" / "store")
    again = request_responses(recipe_of(tmp_path, address), tmp_path / "runs")

    assert sum(log.requests.values()) == before
    assert again == first
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name != "store"] == ["responses"]


def test_a_larger_budget_resumes_what_a_smaller_one_stopped(tmp_path: Path, log: RequestLog, address: str) -> None:
    """The server bills at most the budget, nothing is requested twice, and no file contains the API key."""
    plain = recipe_of(tmp_path, address)
    plain["teacher"]["endpoint"]["budget"] = 0.0005

    with pytest.raises(GenerationError, match=r"budget of 0\.0005 .*\d+ inputs were not requested"):
        request_responses(plain, tmp_path / "runs")
    billed = sum(tokens_in + 2 * tokens_out for _, tokens_in, tokens_out in log.billed) / 1e6
    before = dict(log.requests)
    plain["teacher"]["endpoint"]["budget"] = 1.0
    facts = request_responses(plain, tmp_path / "runs").facts

    assert 0 < billed <= 0.0005
    assert 0 < len(before) < len(INPUTS)
    assert set(log.requests.values()) == {1}
    assert facts.texts == 2 * LEARNED
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"any word" in path.read_bytes()]


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    """A server that fails for a third of the inputs is refused, and its responses so far are kept."""
    with serving(RequestLog(share=0.9)) as address:
        plain = recipe_of(tmp_path, address)
        plain["teacher"]["endpoint"] |= {"attempts": 1, "timeout_s": 0.3, "smoke_inputs": 0}

        with pytest.raises(GenerationError, match=r"\d+ of 42 inputs failed.*responses so far are kept"):
            request_responses(plain, tmp_path / "runs")


def test_a_task_without_such_inputs_is_refused_before_a_request(tmp_path: Path, log: RequestLog, address: str) -> None:
    """The recipe names unlabeled inputs, and all inputs have labels."""
    plain = recipe_of(tmp_path, address)
    plain["task"] |= {"files": labeled_files(tmp_path), "held_out": {}}

    with pytest.raises(DataError, match=r"pseudo_targets\.inputs names unlabeled"):
        request_responses(plain, tmp_path / "runs")
    assert not log.requests


def test_without_log_probabilities_only_the_texts_can_be_learned(
    tmp_path: Path, address: str, log: RequestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that needs them is refused after the smoke round; one that does not reuses these texts."""
    without = partial(completion, fault="no logprobs")
    monkeypatch.setattr("tests.api_teacher.server.completion", lambda prompt, request, _fault: without(prompt, request))

    with pytest.raises(
        GenerationError, match=r"0 of 20 texts have log-probabilities.*extreme_fine_tune.*texts are kept"
    ):
        request_responses(recipe_of(tmp_path, address), tmp_path / "runs")
    assert sum(log.requests.values()) == SMOKE_INPUTS
    facts = request_responses(
        recipe_of(tmp_path, address, distil={"method": "extreme_fine_tune"}), tmp_path / "runs"
    ).facts

    assert set(log.requests.values()) == {1}
    assert facts.texts == 2 * LEARNED
    assert facts.with_logprobs == 0


def test_responses_of_the_papers_code_replace_requests(tmp_path: Path, log: RequestLog, address: str) -> None:
    """A file of the KD4Gen code has the texts of all inputs; only second texts of held-out inputs are requested."""
    path, plain = tmp_path / "gpt.json", recipe_of(tmp_path, address)
    plain["pseudo_targets"] = {"per_input": 1}
    plain["task"]["metrics"] = ["exact_match"]
    plain["teacher"]["endpoint"] |= {"recorded": str(path), "per_request": 1}
    for number, text in enumerate(("OLD", "NEW"), 1):
        recorded = {"tokens": [[text]] * len(INPUTS), "logprobs": [[{text: -0.1}]] * len(INPUTS)}
        path.write_text(json.dumps({"train": {"text": INPUTS, **recorded}}))
        responses = request_responses(plain, tmp_path / "runs")

        assert set(PseudoTargetPool.open(responses.folder).texts) == {text}
        assert responses.facts.requests >= HELD_OUT
        assert sum(log.requests.values()) == number * HELD_OUT  # another file has another journal
