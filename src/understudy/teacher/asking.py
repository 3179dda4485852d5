"""Asks an endpoint about many inputs: several at a time, again where it failed, and never beyond the budget.

Knows neither a server nor a library: what is asked is a function. Time comes in as two functions, so that a test
need not wait.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from understudy.config.endpoint import Endpoint, Price
from understudy.errors import GenerationError
from understudy.progress import Advance
from understudy.records import Example
from understudy.teacher.journal import Journal
from understudy.teacher.judging import judged

MILLION = 1_000_000
OVERHEAD = 64
"""Tokens that a chat's frame may add to a request at the most."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


@dataclass(frozen=True)
class Choice:
    """One text of a reply."""

    text: str
    finish: str
    """As the server says: stop, length, content_filter."""
    logprobs: list[Mapping[str, object]] | None = None


@dataclass(frozen=True)
class Reply:
    """What a server answered to one request."""

    choices: Sequence[Choice]
    input_tokens: int | None
    """None: the server does not tell."""
    output_tokens: int | None


class SetbackError(Exception):
    """A request that came to nothing."""

    def __init__(self, why: str, *, again: bool, billed: bool, wait_s: float = 0.0) -> None:
        super().__init__(why, again, billed, wait_s)  # all of them, or it could not be pickled
        self.why = why
        self.again = again
        """Whether the same question may fare better later."""
        self.billed = billed
        """Whether it may have been paid for all the same."""
        self.wait_s = wait_s
        """How long the server asks to be left alone."""


Ask = Callable[[str, int], Awaitable[Reply]]
"""(source, how many texts) -> the reply; SetbackError, or GenerationError where no question would fare better."""


@dataclass(frozen=True)
class Clock:
    """Time, as the asking sees it."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """How an asking ended."""

    answered: int
    """Inputs with all their texts."""
    rejected: Mapping[str, int]
    """Why texts are no targets -> how many."""
    failed: Mapping[str, str]
    """Input -> why it has no answer."""
    unasked: int
    """Inputs that the budget did not reach."""
    spent: float


def most_of(endpoint: Endpoint, source: str, texts: int) -> float:
    """The most that a request can cost: a token is at least a byte, and an answer ends at the limit."""
    price = endpoint.price
    asked = len((endpoint.system or "").encode()) + len(endpoint.prompt.replace("{source}", source).encode())
    return _cost(price, asked + OVERHEAD, texts * endpoint.max_tokens)


async def ask_all(
    examples: Sequence[Example], ask: Ask, journal: Journal, endpoint: Endpoint, *, clock: Clock, advance: Advance
) -> Outcome:
    """Asks for the texts that the journal lacks, and leaves every input answered, failed with a reason, or unasked.

    Args:
        examples: whose sources are asked about.
        ask: one request.
        journal: what was answered before; every event goes there at once.
        endpoint: limits, prices, and what an answer must look like.
        clock: time.
        advance: told of inputs done.

    Raises:
        GenerationError: where the server refuses us, whatever is asked.
    """
    waiting = iter([example for example in examples if journal.wanted(example.id, endpoint.per_input) > 0])
    advance(sum(journal.wanted(example.id, endpoint.per_input) <= 0 for example in examples))
    gate = _Gate(endpoint, journal, clock)

    async def work() -> None:
        for example in waiting:
            if not await _answered(example, ask, gate):
                return
            advance(1)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(endpoint.concurrency):
                workers.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # all workers meet the same wall; one sentence is enough
    return outcome_of(examples, journal, endpoint)


def outcome_of(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> Outcome:
    """What a journal says of these inputs."""
    lacking = [example.id for example in examples if journal.wanted(example.id, endpoint.per_input) > 0]
    failed = {name: journal.failures[name] for name in lacking if name in journal.failures}
    rejected = Counter(
        answer.rejected for example in examples for answer in journal.answers.get(example.id, ()) if answer.rejected
    )
    return Outcome(
        answered=len(examples) - len(lacking),
        rejected=dict(rejected.most_common()),
        failed=failed,
        unasked=len(lacking) - len(failed),
        spent=journal.spent,
    )


class _Gate:
    """Lets a request pass when neither the rate nor the budget forbids it."""

    def __init__(self, endpoint: Endpoint, journal: Journal, clock: Clock) -> None:
        self.endpoint, self.journal, self.clock = endpoint, journal, clock
        self._next = clock.now()
        self._ended = asyncio.Condition()

    async def enter(self, input_id: str, most: float) -> int | None:
        """The number of the request, once it may be sent; None where the budget has no room and will have none."""
        budget = self.endpoint.budget
        async with self._ended:
            while budget is not None and self.journal.committed + most > budget:
                if not self.journal.open:
                    return None
                await self._ended.wait()  # what is under way may cost less than its most
            request = self.journal.send(input_id, most)
        if self.endpoint.requests_per_minute:
            self._next = max(self._next, self.clock.now())
            pause, self._next = self._next - self.clock.now(), self._next + 60 / self.endpoint.requests_per_minute
            await self.clock.sleep(pause)
        return request

    async def leave(self) -> None:
        """Tells those who wait that a request has ended."""
        async with self._ended:
            self._ended.notify_all()


async def _answered(example: Example, ask: Ask, gate: _Gate) -> bool:
    """Whether the asking may go on; the input is answered then, or given up with a reason."""
    endpoint, journal, why = gate.endpoint, gate.journal, ""
    for attempt in range(endpoint.attempts):
        texts = journal.wanted(example.id, endpoint.per_input)
        if texts <= 0:
            return True
        request = await gate.enter(example.id, most_of(endpoint, example.source, texts))
        if request is None:
            return False
        pause = 0.0
        try:
            reply = await ask(example.source, texts)
        except SetbackError as setback:
            why = setback.why
            journal.end(request, cost=None if setback.billed else 0.0, failure=why)
            pause = max(setback.wait_s, _pause(example.id, attempt))
            if not setback.again:
                break
        except BaseException:
            journal.end(request, cost=None, failure="interrupted")
            raise
        else:
            answers = [
                judged(example.id, choice.text, choice.finish, choice.logprobs, endpoint) for choice in reply.choices
            ]
            journal.end(request, cost=_cost_of(reply, endpoint.price), answers=answers[:texts])
            why = why if answers else "the server's reply holds no text"
        finally:
            await gate.leave()
        if pause and attempt + 1 < endpoint.attempts:
            await gate.clock.sleep(pause)
    if journal.wanted(example.id, endpoint.per_input) > 0:
        journal.give_up(example.id, why)
    return True


def _cost_of(reply: Reply, price: Price | None) -> float | None:
    """What a reply cost; None where the server does not tell its tokens."""
    if reply.input_tokens is None or reply.output_tokens is None:
        return None
    return _cost(price, reply.input_tokens, reply.output_tokens)


def _cost(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    return 0.0 if price is None else (price.input * input_tokens + price.output * output_tokens) / MILLION


def _pause(input_id: str, attempt: int) -> float:
    """Twice as long each time, and not at the same moment as others."""
    part = random.Random(f"{input_id}/{attempt}").uniform(0.5, 1.0)
    whole: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
    return whole * part


def refuse_unasked(outcome: Outcome, endpoint: Endpoint) -> None:
    """Says so where the budget left inputs unasked.

    Raises:
        GenerationError: with what is spent and what is left.
    """
    if outcome.unasked:
        raise GenerationError(
            f"the budget of {endpoint.budget} is reached: {outcome.spent:.4f} are spent and {outcome.unasked} inputs "
            "were not asked about; what is answered is kept. Raise the budget and give the same command again"
        )
