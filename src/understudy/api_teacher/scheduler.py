"""Asks an endpoint about many inputs: several at a time, again where it failed, and never beyond the budget.

Knows neither a server nor a library: what is asked is a function. Time comes in as two functions, so that a test
need not wait.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from understudy.api_teacher.journal import Choice, Journal
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint, Price
from understudy.errors import GenerationError
from understudy.progress import ProgressCallback
from understudy.records import Example

MILLION = 1_000_000
OVERHEAD = 64
"""Tokens that a chat's frame may add to a request at the most."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


@dataclass(frozen=True)
class Reply:
    """What a server answered to one request."""

    choices: Sequence[Choice]
    input_tokens: int | None
    """None: the server does not tell."""
    output_tokens: int | None


class RequestFailed(Exception):
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
"""(source, how many texts) -> the reply; RequestFailed, or GenerationError where no question would fare better."""


@dataclass(frozen=True)
class Clock:
    """Time, as the asking sees it."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """How an asking ended."""

    answered: int
    """Inputs with as many texts as were asked for, targets or not."""
    rejected: Mapping[str, int]
    """Why texts are no targets -> how many."""
    failed: Mapping[str, str]
    """Input -> why it lacks a text."""
    unasked: int
    """Inputs that the budget did not reach."""
    spent: float


def max_cost(endpoint: Endpoint, source: str, texts: int) -> float:
    """The most that a request can cost: a token is at least a byte, and an answer ends at the limit."""
    price = endpoint.price
    asked = len((endpoint.system or "").encode()) + len(endpoint.prompt.replace("{source}", source).encode())
    return _cost(price, asked + OVERHEAD, texts * endpoint.max_tokens)


def request_groups(endpoint: Endpoint, texts: int) -> list[int]:
    """So many texts, as requests that a server answers: 8 at 3 a request are 3, 3 and 2."""
    return [min(endpoint.per_request, texts - start) for start in range(0, texts, endpoint.per_request)]


async def request_all(
    examples: Sequence[Example],
    ask: Ask,
    journal: Journal,
    endpoint: Endpoint,
    *,
    clock: Clock,
    advance: ProgressCallback,
) -> None:
    """Asks for the texts that the journal lacks; `outcome_of` tells what came of it.

    Args:
        examples: whose sources are asked about.
        ask: one request.
        journal: what was answered before; every event goes there at once.
        endpoint: limits, prices, and how many texts.
        clock: time.
        advance: told of inputs done.

    Raises:
        GenerationError: where the server refuses us, whatever is asked.
    """
    lacking = [example for example in examples if _lacks(example, journal, endpoint)]
    for example in lacking:
        journal.take_up(example.source)
    advance(len(examples) - len(lacking))
    waiting, gate = iter(lacking), BudgetLimiter(endpoint, journal, clock)

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


def outcome_of(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> Outcome:
    """What a journal says of these inputs, under these settings."""
    lacking = [example for example in examples if _lacks(example, journal, endpoint)]
    failed = {example.id: why for example in lacking if (why := journal.failure(example.source))}
    verdicts = [
        parse_response(choice, endpoint)
        for example in examples
        for choice in journal.answers(example.source)[: endpoint.per_input]  # an earlier asking may have had more
    ]
    return Outcome(
        answered=len(examples) - len(lacking),
        rejected=dict(Counter(verdict.rejected for verdict in verdicts if verdict.rejected).most_common()),
        failed=failed,
        unasked=len(lacking) - len(failed),
        spent=journal.spent,
    )


def _lacks(example: Example, journal: Journal, endpoint: Endpoint) -> int:
    """How many texts an input still lacks; a rejected one is paid for and not asked for again."""
    return max(0, endpoint.per_input - len(journal.answers(example.source)))


class BudgetLimiter:
    """Lets a request pass when neither the rate nor the budget forbids it."""

    def __init__(self, endpoint: Endpoint, journal: Journal, clock: Clock) -> None:
        self.endpoint, self.journal, self.clock = endpoint, journal, clock
        self._next = clock.now()
        self._ended = asyncio.Condition()

    async def enter(self, source: str, most: float) -> int | None:
        """The number of the request, once it may be sent; None where the budget has no room and will have none."""
        if self.endpoint.requests_per_minute:
            self._next = max(self._next, self.clock.now())
            pause, self._next = self._next - self.clock.now(), self._next + 60 / self.endpoint.requests_per_minute
            await self.clock.sleep(pause)
        budget = self.endpoint.budget
        async with self._ended:
            while budget is not None and self.journal.committed + most > budget:
                if not self.journal.open:
                    return None
                await self._ended.wait()  # what is under way may cost less than its most
            return self.journal.send(source, most)

    async def leave(self) -> None:
        """Tells those who wait that a request has ended."""
        async with self._ended:
            self._ended.notify_all()


async def _answered(example: Example, ask: Ask, gate: BudgetLimiter) -> bool:
    """Whether the asking may go on; the input is answered then, or given up with a reason.

    A server may give fewer texts than it was asked for, so only requests without any count as attempts.
    """
    endpoint, journal, source = gate.endpoint, gate.journal, example.source
    attempt = 0
    while lacking := _lacks(example, journal, endpoint):
        texts = request_groups(endpoint, lacking)[0]
        request = await gate.enter(source, max_cost(endpoint, source, texts))
        if request is None:
            return False
        try:
            setback = await _asked(source, texts, request, ask, gate)
        finally:
            await gate.leave()
        if setback is None:
            continue
        attempt += 1
        if attempt == endpoint.attempts or not setback.again:
            journal.give_up(source, setback.why)
            return True
        await gate.clock.sleep(max(setback.wait_s, _pause(source, attempt)))
    return True


async def _asked(source: str, texts: int, request: int, ask: Ask, gate: BudgetLimiter) -> RequestFailed | None:
    """One request, and its end in the journal; what set it back, or None where it brought a text."""
    journal = gate.journal
    try:
        reply = await ask(source, texts)
    except RequestFailed as setback:
        journal.end(request, cost=None if setback.billed else 0.0, failure=setback.why)
        return setback
    except GenerationError as error:  # refused at the door: nothing was done, nothing is billed
        journal.end(request, cost=0.0, failure=str(error))
        raise
    except BaseException:
        journal.end(request, cost=None, failure="interrupted")
        raise
    journal.end(request, cost=_cost_of(reply, gate.endpoint.price), choices=reply.choices[:texts])
    return None if reply.choices else RequestFailed("the server's reply holds no text", again=True, billed=True)


def _cost_of(reply: Reply, price: Price | None) -> float | None:
    """What a reply cost; None where the server does not tell its tokens."""
    if reply.input_tokens is None or reply.output_tokens is None:
        return None
    return _cost(price, reply.input_tokens, reply.output_tokens)


def _cost(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    return 0.0 if price is None else (price.input * input_tokens + price.output * output_tokens) / MILLION


def _pause(source: str, attempt: int) -> float:
    """Twice as long each time, and not at the same moment as others."""
    part = random.Random(f"{source}/{attempt}").uniform(0.5, 1.0)
    whole: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return whole * part


def refuse_fruitless(outcome: Outcome, texts: int) -> None:
    """Says so where nothing usable came of all the asking.

    Raises:
        GenerationError: with what is spent.
    """
    if not texts:
        raise GenerationError(
            f"no input came to a usable text, for {outcome.spent:.4f}; mend what is told above (is the server there? "
            "does answer match? is max_tokens large enough?) and give the same command again"
        )


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
