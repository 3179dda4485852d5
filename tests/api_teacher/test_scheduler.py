import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.api_teacher.journal import Choice, Journal
from understudy.api_teacher.scheduler import (
    Ask,
    Clock,
    Outcome,
    Reply,
    RequestFailed,
    max_cost,
    outcome_of,
    refuse_unasked,
    request_all,
)
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.progress import NO_PROGRESS
from understudy.records import Example

PRICED = {"price": {"input": 1.0, "output": 10.0}, "max_tokens": 10}
EXAMPLES = [Example(f"q{number}", f"question {number}") for number in range(12)]
Script = Callable[[str, int], Reply]


class Hours:
    """A clock whose sleep takes no time, but is remembered."""

    def __init__(self) -> None:
        self.time, self.pauses = 0.0, list[float]()

    async def sleep(self, seconds: float) -> None:
        """Moves the hands."""
        self.pauses.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        """As the asking sees it."""
        return Clock(lambda: self.time, self.sleep)


def endpoint(**settings: object) -> Endpoint:
    """Of a model that answers shortly."""
    return Endpoint.model_validate({"model": "m", "concurrency": 3, **settings})


def reply(*texts: str, tokens: tuple[int, int] = (4, 2)) -> Reply:
    """Finished texts."""
    return Reply([Choice(text, "stop") for text in texts], *tokens)


def asked(
    script: Script, settings: Endpoint, folder: Path, *, hours: Hours | None = None, examples: list[Example] = EXAMPLES
) -> tuple[Outcome, Journal]:
    """The outcome of asking by a function, and the journal."""

    async def ask(source: str, texts: int) -> Reply:
        await asyncio.sleep(0)
        return script(source, texts)

    asking: Ask = ask
    journal = Journal.at(folder / "journal.jsonl", determines=settings.determines)
    clock = (hours or Hours()).clock
    asyncio.run(request_all(examples, asking, journal, settings, clock=clock, advance=NO_PROGRESS))
    return outcome_of(examples, journal, settings), journal


def test_every_input_is_answered_once(tmp_path: Path) -> None:
    """Also by a later call over the same journal, which asks nothing."""
    sources: list[str] = []

    def script(source: str, texts: int) -> Reply:
        sources.append(source)
        return reply(*["yes"] * texts)

    outcome, journal = asked(script, endpoint(per_input=2), tmp_path)
    again, _ = asked(script, endpoint(per_input=2), tmp_path)

    assert sorted(sources) == sorted(example.source for example in EXAMPLES)
    assert outcome == again
    assert (outcome.answered, outcome.unasked, outcome.failed) == (12, 0, {})
    assert [choice.text for choice in journal.answers("question 3")] == ["yes", "yes"]


def test_what_a_reply_lacks_is_asked_for(tmp_path: Path) -> None:
    """A server that gives one text at a time is asked until there are enough, more often than it may fail."""
    counts: list[int] = []

    def script(_source: str, texts: int) -> Reply:
        counts.append(texts)
        return reply("yes")

    outcome, _ = asked(script, endpoint(per_input=3, attempts=1), tmp_path, examples=EXAMPLES[:1])

    assert counts == [3, 2, 1]
    assert (outcome.answered, outcome.failed) == (1, {})


def test_no_more_texts_are_asked_for_at_once_than_the_server_gives(tmp_path: Path) -> None:
    """A server that refuses more than four gives nine as four, four and one."""
    counts: list[int] = []

    def script(_source: str, texts: int) -> Reply:
        if texts > 4:
            raise RequestFailed("the server answered 400", again=False, billed=False)
        counts.append(texts)
        return reply(*["yes"] * texts)

    at_once, _ = asked(script, endpoint(per_input=9), tmp_path, examples=EXAMPLES[:1])
    in_turn, _ = asked(script, endpoint(per_input=9, per_request=4), tmp_path, examples=EXAMPLES[:1])

    assert at_once.failed == {"q0": "the server answered 400"}
    assert (in_turn.failed, counts) == ({}, [4, 4, 1])


def test_a_reply_without_a_text_is_a_setback(tmp_path: Path) -> None:
    """It ends with a reason, not with nothing."""
    outcome, _ = asked(lambda _source, _texts: reply(), endpoint(attempts=2), tmp_path, examples=EXAMPLES[:1])

    assert outcome.failed == {"q0": "the server's reply holds no text"}


def test_a_setback_is_waited_out(tmp_path: Path) -> None:
    """Longer each time, at least as long as the server asks; after the last attempt there is no pause, but a reason."""
    hours = Hours()

    def script(_source: str, _texts: int) -> Reply:
        raise RequestFailed("busy", again=True, billed=False, wait_s=2.5 if len(hours.pauses) == 1 else 0.0)

    outcome, _ = asked(script, endpoint(attempts=4), tmp_path, hours=hours, examples=EXAMPLES[:1])

    first, second, third = hours.pauses
    assert 0.25 <= first <= 0.5
    assert second == 2.5
    assert 1.0 <= third <= 2.0
    assert outcome.failed == {"q0": "busy"}


def test_a_question_the_server_cannot_take_is_not_repeated(tmp_path: Path) -> None:
    """The others are answered."""
    sources: list[str] = []

    def script(source: str, _texts: int) -> Reply:
        sources.append(source)
        if source == "question 1":
            raise RequestFailed("the server answered 400", again=False, billed=False)
        return reply("yes")

    outcome, _ = asked(script, endpoint(), tmp_path)

    assert sources.count("question 1") == 1
    assert (outcome.answered, outcome.failed) == (11, {"q1": "the server answered 400"})


def test_a_server_that_refuses_us_ends_the_asking(tmp_path: Path) -> None:
    """With its one sentence, not with one from each worker."""

    def script(_source: str, _texts: int) -> Reply:
        raise GenerationError("check the key")

    with pytest.raises(GenerationError, match="check the key"):
        asked(script, endpoint(), tmp_path)


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """Thirty requests a minute are one every two seconds, however many workers there are."""
    hours = Hours()
    times: list[float] = []

    def script(_source: str, _texts: int) -> Reply:
        times.append(hours.time)
        return reply("yes")

    asked(script, endpoint(requests_per_minute=30), tmp_path, hours=hours)

    assert hours.time >= 2 * (len(EXAMPLES) - 1)


@pytest.mark.parametrize("concurrency", [1, 3, 12])
def test_the_budget_is_never_passed(concurrency: int, tmp_path: Path) -> None:
    """Not even if everything under way costs the most it can: at no moment is more committed."""
    committed: list[float] = []
    settings = endpoint(**PRICED, concurrency=concurrency, budget=0.0012)
    journal = Journal.at(tmp_path / "journal.jsonl", determines=settings.determines)

    async def ask(source: str, texts: int) -> Reply:
        committed.append(journal.committed)
        await asyncio.sleep(0)
        most = len(source) + 64
        return reply(*["yes"] * texts, tokens=(most if len(committed) % 2 else 4, 10))

    asyncio.run(request_all(EXAMPLES, ask, journal, settings, clock=Hours().clock, advance=NO_PROGRESS))
    outcome = outcome_of(EXAMPLES, journal, settings)

    assert max(committed) <= 0.0012
    assert outcome.spent <= 0.0012
    assert outcome.spent + max_cost(settings, EXAMPLES[0].source, 1) > 0.0012  # and it is used up
    assert outcome.unasked == 12 - outcome.answered > 0
    with pytest.raises(
        GenerationError, match=r"budget of 0\.0012 is reached: 0\.00\d+ are spent and \d+ inputs were not"
    ):
        refuse_unasked(outcome, settings)


def test_a_request_that_may_have_been_billed_counts_at_its_most(tmp_path: Path) -> None:
    """A lost connection may cost; a busy server costs nothing; an answer costs its tokens."""
    settings = endpoint(**PRICED, attempts=1)
    setbacks = {"question 0": True, "question 1": False}

    def script(source: str, _texts: int) -> Reply:
        if source in setbacks:
            raise RequestFailed("lost", again=True, billed=setbacks[source])
        return reply("yes", tokens=(3, 2))

    _, journal = asked(script, settings, tmp_path, examples=EXAMPLES[:3])

    assert journal.spent == pytest.approx(max_cost(settings, "question 0", 1) + (3 * 1.0 + 2 * 10.0) / 1e6)


def test_a_budget_used_up_by_losses_is_told_as_such(tmp_path: Path) -> None:
    """After an outage nothing can be asked again; the reason of before is not told as if it had happened anew."""
    settings = endpoint(**PRICED, attempts=1, budget=0.0012)

    def lost(_source: str, _texts: int) -> Reply:
        raise RequestFailed("the connection was lost", again=True, billed=True)

    first, _ = asked(lost, settings, tmp_path)
    second, _ = asked(lost, settings, tmp_path)

    assert len(first.failed) == 6
    assert (second.unasked, second.failed) == (12, {})


def test_a_refusal_at_the_door_costs_nothing(tmp_path: Path) -> None:
    """A wrong key must not eat the budget."""

    def script(_source: str, _texts: int) -> Reply:
        raise GenerationError("check the key")

    settings = endpoint(**PRICED, concurrency=1)
    with pytest.raises(GenerationError):
        asked(script, settings, tmp_path)

    assert Journal.at(tmp_path / "journal.jsonl", determines=settings.determines).spent == 0


def test_a_rejected_text_is_paid_for_and_not_asked_again(tmp_path: Path) -> None:
    """It is told with its reason; its input is not answered by it, but not a failure of the server either."""
    sources: list[str] = []

    def script(source: str, _texts: int) -> Reply:
        sources.append(source)
        return reply("I'm sorry, I cannot." if source == "question 1" else "yes")

    first, _ = asked(script, endpoint(), tmp_path, examples=EXAMPLES[:3])
    asked(script, endpoint(), tmp_path, examples=EXAMPLES[:3])

    assert first.rejected == {"a refusal": 1}
    assert len(sources) == 3


def test_answers_beyond_those_asked_for_are_not_counted(tmp_path: Path) -> None:
    """An earlier asking had two texts of each, a good one and an empty one; this one wants the first alone."""
    _, journal = asked(lambda _source, _texts: reply("good", ""), endpoint(per_input=2), tmp_path)

    assert outcome_of(EXAMPLES, journal, endpoint(per_input=2)).rejected == {"empty": len(EXAMPLES)}
    assert outcome_of(EXAMPLES, journal, endpoint(per_input=1)).rejected == {}
