"""Retries, rate and budget, with a scripted server and a clock that does not wait."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.api_teacher.collect import CollectResult, refuse_unanswered
from understudy.api_teacher.costs import max_cost
from understudy.api_teacher.journal import CompletionChoice, Journal
from understudy.api_teacher.request_types import RequestFailed, Response
from understudy.api_teacher.scheduler import (
    AsyncClock,
    RequestOutcome,
    outcome_of,
    request_all,
)
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.progress import NO_PROGRESS
from understudy.records import Example

PRICED = {"price": {"input": 1.0, "output": 10.0}, "max_tokens": 10}
EXAMPLES = [Example(f"q{number}", f"question {number}") for number in range(12)]
Script = Callable[[str, int], Response]


class FakeTime:
    """A clock whose sleep advances the time at once and records the pause."""

    def __init__(self) -> None:
        self.time, self.pauses = 0.0, list[float]()

    async def sleep(self, seconds: float) -> None:
        """Advances the time."""
        self.pauses.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> AsyncClock:
        """The clock as the scheduler takes it."""
        return AsyncClock(lambda: self.time, self.sleep)


def endpoint(**settings: object) -> Endpoint:
    """Endpoint settings with three workers."""
    return Endpoint.model_validate({"model": "m", "concurrency": 3, **settings})


def response(*texts: str, tokens: tuple[int, int] = (4, 2)) -> Response:
    """A response of complete texts."""
    return Response([CompletionChoice(text, "stop") for text in texts], *tokens)


def run_requests(
    script: Script,
    settings: Endpoint,
    folder: Path,
    *,
    fake_time: FakeTime | None = None,
    examples: list[Example] = EXAMPLES,
) -> tuple[RequestOutcome, Journal]:
    """The outcome of requests answered by a function, and the journal."""

    async def send(source: str, texts: int) -> Response:
        await asyncio.sleep(0)
        return script(source, texts)

    journal = Journal.open(folder / "journal.jsonl", fingerprint=settings.request_settings)
    clock = (fake_time or FakeTime()).clock
    asyncio.run(request_all(examples, send, journal, settings, clock=clock, advance=NO_PROGRESS))
    return outcome_of(examples, journal, settings), journal


def test_every_input_is_requested_once(tmp_path: Path) -> None:
    """A later call with the same journal sends no request."""
    sources: list[str] = []

    def script(source: str, texts: int) -> Response:
        sources.append(source)
        return response(*["yes"] * texts)

    outcome, journal = run_requests(script, endpoint(per_input=2), tmp_path)
    again, _ = run_requests(script, endpoint(per_input=2), tmp_path)

    assert sorted(sources) == sorted(example.source for example in EXAMPLES)
    assert outcome == again
    assert (outcome.answered, outcome.over_budget, outcome.failed) == (12, 0, {})
    assert [choice.text for choice in journal.responses("question 3")] == ["yes", "yes"]


def test_missing_texts_of_a_response_are_requested_again(tmp_path: Path) -> None:
    """A server that returns one text per request gets more of them; none of these is a failed attempt."""
    counts: list[int] = []

    def script(_source: str, texts: int) -> Response:
        counts.append(texts)
        return response("yes")

    outcome, _ = run_requests(script, endpoint(per_input=3, attempts=1), tmp_path, examples=EXAMPLES[:1])

    assert counts == [3, 2, 1]
    assert (outcome.answered, outcome.failed) == (1, {})


def test_a_request_has_at_most_per_request_texts(tmp_path: Path) -> None:
    """A server that refuses more than four texts returns nine as four, four and one."""
    counts: list[int] = []

    def script(_source: str, texts: int) -> Response:
        if texts > 4:
            raise RequestFailed("HTTP status 400", retryable=False, billed=False)
        counts.append(texts)
        return response(*["yes"] * texts)

    at_once, _ = run_requests(script, endpoint(per_input=9), tmp_path, examples=EXAMPLES[:1])
    in_turn, _ = run_requests(script, endpoint(per_input=9, per_request=4), tmp_path, examples=EXAMPLES[:1])

    assert at_once.failed == {"q0": "HTTP status 400"}
    assert (in_turn.failed, counts) == ({}, [4, 4, 1])


def test_a_response_without_a_text_is_a_failed_attempt(tmp_path: Path) -> None:
    """The input fails with a reason."""
    outcome, _ = run_requests(lambda _source, _texts: response(), endpoint(attempts=2), tmp_path, examples=EXAMPLES[:1])

    assert outcome.failed == {"q0": "response without a text"}


def test_retries_back_off_and_respect_retry_after(tmp_path: Path) -> None:
    """Pauses double, and are at least Retry-After; after the last attempt there is no pause but a reason."""
    fake_time = FakeTime()

    def script(_source: str, _texts: int) -> Response:
        raise RequestFailed(
            "busy", retryable=True, billed=False, retry_after_s=2.5 if len(fake_time.pauses) == 1 else 0.0
        )

    outcome, _ = run_requests(script, endpoint(attempts=4), tmp_path, fake_time=fake_time, examples=EXAMPLES[:1])

    first, second, third = fake_time.pauses
    assert 0.25 <= first <= 0.5
    assert second == 2.5
    assert 1.0 <= third <= 2.0
    assert outcome.failed == {"q0": "busy"}


def test_a_request_that_cannot_succeed_is_not_retried(tmp_path: Path) -> None:
    """The other inputs are answered."""
    sources: list[str] = []

    def script(source: str, _texts: int) -> Response:
        sources.append(source)
        if source == "question 1":
            raise RequestFailed("HTTP status 400", retryable=False, billed=False)
        return response("yes")

    outcome, _ = run_requests(script, endpoint(), tmp_path)

    assert sources.count("question 1") == 1
    assert (outcome.answered, outcome.failed) == (11, {"q1": "HTTP status 400"})


def test_a_fatal_refusal_ends_all_requests(tmp_path: Path) -> None:
    """It is raised once, not as a group with one error per worker."""

    def script(_source: str, _texts: int) -> Response:
        raise GenerationError("check the key")

    with pytest.raises(GenerationError, match="check the key"):
        run_requests(script, endpoint(), tmp_path)


def test_the_rate_limit_holds(tmp_path: Path) -> None:
    """Thirty requests a minute are one every two seconds, for any number of workers."""
    fake_time = FakeTime()

    def script(_source: str, _texts: int) -> Response:
        return response("yes")

    run_requests(script, endpoint(requests_per_minute=30), tmp_path, fake_time=fake_time)

    assert fake_time.time >= 2 * (len(EXAMPLES) - 1)


@pytest.mark.parametrize("concurrency", [1, 3, 12])
def test_the_budget_is_never_exceeded(concurrency: int, tmp_path: Path) -> None:
    """At no moment is more committed, even if every request in flight costs its maximum."""
    committed: list[float] = []
    settings = endpoint(**PRICED, concurrency=concurrency, budget=0.0012)
    journal = Journal.open(tmp_path / "journal.jsonl", fingerprint=settings.request_settings)

    async def send(source: str, texts: int) -> Response:
        committed.append(journal.committed)
        await asyncio.sleep(0)
        most = len(source) + 64
        return response(*["yes"] * texts, tokens=(most if len(committed) % 2 else 4, 10))

    asyncio.run(request_all(EXAMPLES, send, journal, settings, clock=FakeTime().clock, advance=NO_PROGRESS))
    outcome = outcome_of(EXAMPLES, journal, settings)

    assert max(committed) <= 0.0012
    assert outcome.spent <= 0.0012
    assert outcome.spent + max_cost(settings, EXAMPLES[0].source, 1) > 0.0012  # and it is used up
    assert outcome.over_budget == 12 - outcome.answered > 0
    with pytest.raises(GenerationError, match=r"budget of 0\.0012.* 0\.00\d+ is spent and \d+ inputs.*Raise `budget`"):
        refuse_unanswered(CollectResult(tmp_path, outcome, texts=1), settings)


def test_a_request_that_may_have_been_billed_counts_at_its_maximum_cost(tmp_path: Path) -> None:
    """A lost connection may cost; a rate limit costs nothing; a response costs its tokens."""
    settings = endpoint(**PRICED, attempts=1)
    billed = {"question 0": True, "question 1": False}

    def script(source: str, _texts: int) -> Response:
        if source in billed:
            raise RequestFailed("lost", retryable=True, billed=billed[source])
        return response("yes", tokens=(3, 2))

    _, journal = run_requests(script, settings, tmp_path, examples=EXAMPLES[:3])

    assert journal.spent == pytest.approx(max_cost(settings, "question 0", 1) + (3 * 1.0 + 2 * 10.0) / 1e6)


def test_a_budget_used_up_by_lost_requests_counts_inputs_as_over_budget(tmp_path: Path) -> None:
    """After an outage nothing can be requested; the earlier failure is not reported as if it had happened again."""
    settings = endpoint(**PRICED, attempts=1, budget=0.0012)

    def lost(_source: str, _texts: int) -> Response:
        raise RequestFailed("connection lost", retryable=True, billed=True)

    first, _ = run_requests(lost, settings, tmp_path)
    second, _ = run_requests(lost, settings, tmp_path)

    assert len(first.failed) == 6
    assert (second.over_budget, second.failed) == (12, {})


def test_a_fatal_refusal_costs_nothing(tmp_path: Path) -> None:
    """A wrong key must not use up the budget."""

    def script(_source: str, _texts: int) -> Response:
        raise GenerationError("check the key")

    settings = endpoint(**PRICED, concurrency=1)
    with pytest.raises(GenerationError):
        run_requests(script, settings, tmp_path)

    assert Journal.open(tmp_path / "journal.jsonl", fingerprint=settings.request_settings).spent == 0


def test_a_rejected_text_is_paid_for_and_not_requested_again(tmp_path: Path) -> None:
    """It is counted under its reason; its input has not failed."""
    sources: list[str] = []

    def script(source: str, _texts: int) -> Response:
        sources.append(source)
        return response("I'm sorry, I cannot." if source == "question 1" else "yes")

    first, _ = run_requests(script, endpoint(), tmp_path, examples=EXAMPLES[:3])
    run_requests(script, endpoint(), tmp_path, examples=EXAMPLES[:3])

    assert first.rejected == {"refusal": 1}
    assert len(sources) == 3


def test_texts_beyond_per_input_are_not_counted(tmp_path: Path) -> None:
    """An earlier call collected two texts per input, a usable and an empty one; this call uses the first alone."""
    _, journal = run_requests(lambda _source, _texts: response("good", ""), endpoint(per_input=2), tmp_path)

    assert outcome_of(EXAMPLES, journal, endpoint(per_input=2)).rejected == {"empty": len(EXAMPLES)}
    assert outcome_of(EXAMPLES, journal, endpoint(per_input=1)).rejected == {}
