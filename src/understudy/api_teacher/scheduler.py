"""Sends the requests of many inputs: concurrently, with retries and backoff, and never beyond the budget.

This module depends on no server and no HTTP library: a request is sent by a function. Time is two functions as well,
so that tests need not wait.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from understudy.api_teacher.costs import max_cost, response_cost
from understudy.api_teacher.journal import Journal
from understudy.api_teacher.request_types import RequestFailed, SendRequest
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.progress import ProgressCallback
from understudy.records import Example

FAILURES_IN_A_ROW = 20
"""Inputs that fail one after another although each was retried: the server is the problem, not the inputs."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Backoff: the first pause before a retry doubles with each attempt up to the longest."""


@dataclass(frozen=True)
class AsyncClock:
    """The current time and a way to wait, in seconds."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class PromptGroup:
    """Inputs that are requested with the same settings; `endpoint.per_input` is the number of texts of each."""

    examples: Sequence[Example]
    endpoint: Endpoint


@dataclass(frozen=True)
class RequestOutcome:
    """What became of a set of inputs."""

    answered: int
    """Inputs with as many texts as requested, usable or not."""
    rejected: Mapping[str, int]
    """Reason why texts are not usable -> number of texts."""
    failed: Mapping[str, str]
    """Id of each input that lacks a text -> the reason."""
    over_budget: int
    """Inputs that were not requested because the budget was reached."""
    spent: float


def request_groups(endpoint: Endpoint, texts: int) -> list[int]:
    """Splits a number of texts into requests of at most `per_request`: 8 texts at 3 per request are 3, 3 and 2."""
    return [min(endpoint.per_request, texts - start) for start in range(0, texts, endpoint.per_request)]


async def request_all(
    examples: Sequence[Example],
    send: SendRequest,
    journal: Journal,
    endpoint: Endpoint,
    *,
    clock: AsyncClock,
    advance: ProgressCallback,
) -> None:
    """Requests the texts that the journal lacks; `outcome_of` reports the result.

    Args:
        examples: the inputs; only their sources are used.
        send: sends one request.
        journal: the responses so far; every event is recorded there at once.
        endpoint: limits, prices, and the number of texts per input.
        clock: time.
        advance: called with the number of inputs done.

    Raises:
        GenerationError: if the server refuses every request.
    """
    lacking = [example for example in examples if missing_texts(example, journal, endpoint)]
    for example in lacking:
        journal.clear_failure(example.source)
    advance(len(examples) - len(lacking))
    queue, limiter = iter(lacking), BudgetLimiter(endpoint, journal, clock)

    async def work() -> None:
        for example in queue:
            if not await _request_input(example, send, limiter):
                return
            advance(1)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(endpoint.concurrency):
                workers.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # the server rejects the requests of all workers alike; one error is enough


def outcome_of(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> RequestOutcome:
    """What the journal holds for these inputs, with the filters and counts of these settings."""
    lacking = [example for example in examples if missing_texts(example, journal, endpoint)]
    failed = {example.id: reason for example in lacking if (reason := journal.failure(example.source))}
    parsed = [
        parse_response(choice, endpoint)
        for example in examples
        for choice in journal.responses(example.source)[: endpoint.per_input]  # an earlier call may have had more
    ]
    return RequestOutcome(
        answered=len(examples) - len(lacking),
        rejected=dict(Counter(response.rejected for response in parsed if response.rejected).most_common()),
        failed=failed,
        over_budget=len(lacking) - len(failed),
        spent=journal.spent,
    )


def missing_texts(example: Example, journal: Journal, endpoint: Endpoint) -> int:
    """How many texts an input still lacks. A rejected text counts: it is paid for and not requested again."""
    return max(0, endpoint.per_input - len(journal.responses(example.source)))


class BudgetLimiter:
    """Delays or denies requests so that neither the rate limit nor the budget is exceeded."""

    def __init__(self, endpoint: Endpoint, journal: Journal, clock: AsyncClock) -> None:
        self.endpoint, self.journal, self.clock = endpoint, journal, clock
        self._next = clock.now()
        self._ended = asyncio.Condition()
        self.failures_in_a_row = 0

    async def acquire(self, source: str, max_cost: float) -> int | None:
        """The number of the request once it may be sent; None if the budget does not cover it and never will."""
        if self.endpoint.requests_per_minute:
            self._next = max(self._next, self.clock.now())
            pause, self._next = self._next - self.clock.now(), self._next + 60 / self.endpoint.requests_per_minute
            await self.clock.sleep(pause)
        budget = self.endpoint.budget
        async with self._ended:
            while budget is not None and self.journal.committed + max_cost > budget:
                if not self.journal.pending:
                    return None
                await self._ended.wait()  # a request in flight may cost less than its maximum
            return self.journal.record_request(source, max_cost)

    async def release(self) -> None:
        """Notifies the waiting workers after a request has ended."""
        async with self._ended:
            self._ended.notify_all()


async def _request_input(example: Example, send: SendRequest, limiter: BudgetLimiter) -> bool:
    """Requests one input until it has its texts or is given up with a reason; False if the budget is reached.

    A server may return fewer texts than requested, so only requests without any text count as attempts.
    """
    endpoint, journal, source = limiter.endpoint, limiter.journal, example.source
    attempt = 0
    while missing := missing_texts(example, journal, endpoint):
        texts = request_groups(endpoint, missing)[0]
        request = await limiter.acquire(source, max_cost(endpoint, source, texts))
        if request is None:
            return False
        try:
            failure = await _send_recorded(source, texts, request, send, limiter)
        finally:
            await limiter.release()
        if failure is None:
            limiter.failures_in_a_row = 0
            continue
        attempt += 1
        if attempt == endpoint.attempts or not failure.retryable:
            journal.record_failure(source, failure.reason)
            _refuse_hopeless(failure, limiter)
            return True
        await limiter.clock.sleep(max(failure.retry_after_s, backoff_s(source, attempt)))
    return True


def _refuse_hopeless(failure: RequestFailed, limiter: BudgetLimiter) -> None:
    """Raises after an input has failed if no other request can be expected to succeed."""
    attempts = limiter.endpoint.attempts
    if failure.unreachable:
        raise GenerationError(
            f"{failure.reason} ({attempts} attempts; nothing was sent, and nothing is counted as spent). Start the "
            "server or change base_url, and run the same command again; the responses so far are kept"
        )
    limiter.failures_in_a_row += failure.retryable
    if limiter.failures_in_a_row == FAILURES_IN_A_ROW:
        raise GenerationError(
            f"{FAILURES_IN_A_ROW} inputs in a row failed after {attempts} attempts each, the last with: "
            f"{failure.reason}. Check the server and run the same command again; the responses so far are kept"
        )


async def _send_recorded(
    source: str, texts: int, request: int, send: SendRequest, limiter: BudgetLimiter
) -> RequestFailed | None:
    """Sends one request and records its end in the journal; returns its failure, or None if it brought a text."""
    journal = limiter.journal
    try:
        response = await send(source, texts)
    except RequestFailed as failure:
        journal.record_end(request, cost=None if failure.billed else 0.0, failure=failure.reason)
        return failure
    except GenerationError as error:  # refused before any work was done: nothing is billed
        journal.record_end(request, cost=0.0, failure=str(error))
        raise
    except BaseException:
        journal.record_end(request, cost=None, failure="interrupted")
        raise
    cost = response_cost(response, limiter.endpoint, source, texts)
    journal.record_end(request, cost=cost, choices=response.choices[:texts])
    return None if response.choices else RequestFailed("response without a text", retryable=True, billed=True)


def backoff_s(source: str, attempt: int) -> float:
    """Exponential backoff with jitter: the pause doubles each time, and differs between inputs."""
    jitter = random.Random(f"{source}/{attempt}").uniform(0.5, 1.0)
    pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return pause_s * jitter
