"""The teacher's endpoint behind a server: one attempt per source, within a deadline and a budget.

A request that cannot be answered there is a `TeacherFailed`, whatever the reason: the caller returns the student's
answer. The HTTP client, the parameters that a server takes and the count of costs are those of `api_teacher`.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.api_teacher.client import ApiClient
from understudy.api_teacher.costs import max_cost, response_cost
from understudy.api_teacher.journal import CompletionChoice
from understudy.api_teacher.request_body import Dialect, adapt, refused_parameters, request_body
from understudy.api_teacher.request_types import RequestFailed, Response
from understudy.api_teacher.response_filter import TRUNCATED, parse_response
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.serving.deployment import Answer, TokenLogprob
from understudy.serving.ledger import Ledger
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.requests import TextRequest
from understudy.serving.responses import ApiKind, up_to_stop

TEACHER_LOG = logging.getLogger("understudy.teacher")
LENGTHS = ("max_tokens", "max_completion_tokens")
NOT_SENT_ON = {"model", "stream", "stream_options", *LENGTHS}
"""Parameters of a request that are set here: responses are read whole, and are limited in length."""
OF_COMPLETIONS = {"temperature", "top_p", "n", "stop", "seed"}
"""Parameters of the legacy API that a chat completion has too."""
SHARE_OF_TIME = 0.9
"""Of the time that is left to a request; the rest is for the student's answer to be sent in time."""
FAILURES_BEFORE_PAUSE = 5
LONGEST_PAUSE_S = 60.0
"""After so many failures nothing is sent for 1 s, then twice as long after each further one, up to this."""
REASONS = {
    "timeout": "timeout",
    "connection lost": "connection",
    "rate limited": "rate_limited",
    "HTTP status": "status",
    "malformed": "malformed",
    "response too long": "malformed",
}
"""How the reason of a failed request begins -> its name in metrics; any other is `UNREACHABLE`."""
UNREACHABLE = "unreachable"


class TeacherFailed(Exception):
    """No answer of the teacher's, for a reason in a few words, which metrics and the access log contain."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class TeacherSettings:
    """The teacher's endpoint of a server."""

    endpoint: Endpoint
    """Model, address, prompt, price and budget; `ServerLimits.teacher_s` is its timeout."""
    requests: int | None = None
    """Most requests; None: as many as the budget covers."""
    ledger: Path | None = None
    """File of what was spent; None: counted by this process alone, from its start on."""


@dataclass(frozen=True)
class Asked:
    """A request to the server."""

    id: str
    kind: ApiKind
    body: bytes
    """As the client sent it."""
    wanted: TextRequest
    until: float
    """When the client gets an error instead of an answer, in the seconds of `time.monotonic`."""


@dataclass(frozen=True)
class TeacherReply:
    """The teacher's texts for one source."""

    answers: tuple[Answer, ...]
    source_tokens: int | None
    """These two as its endpoint reports them; None if it does not."""
    text_tokens: int | None


class TeacherClient:
    """Sends sources to the endpoint, at most so many at a time, and not while it fails."""

    def __init__(
        self, client: ApiClient, settings: TeacherSettings, ledger: Ledger, limits: ServerLimits, metrics: ServerMetrics
    ) -> None:
        """For the event loop in which the client was opened."""
        self._client = client
        self._settings = settings
        self._ledger = ledger
        self._limits = limits
        self._metrics = metrics
        self._in_flight = 0
        self._failures = 0
        self._pause_begun = self._paused_until = 0.0

    async def reply(self, asked: Asked, index: int) -> TeacherReply:
        """The teacher's texts for one source of a request.

        Raises:
            TeacherFailed: if there are none.
        """
        try:
            self._refuse_overload()
            self._in_flight += 1
            try:
                with self._metrics.upstream.seconds.time():
                    return await self._reply(asked, index)
            finally:
                self._in_flight -= 1
        except TeacherFailed as failed:
            self._metrics.upstream.failures.labels(failed.reason).inc()
            raise

    def _refuse_overload(self) -> None:
        if time.monotonic() < self._paused_until:
            raise TeacherFailed("paused")
        if self._in_flight >= self._limits.teacher_requests:
            raise TeacherFailed("busy")

    async def _reply(self, asked: Asked, index: int) -> TeacherReply:
        endpoint, wanted = self._settings.endpoint, asked.wanted
        deadline = min(time.monotonic() + self._limits.teacher_s, _share(asked.until))
        sent = json.loads(asked.body)
        for _ in range(4):  # a parameter that is refused is renamed or left out, which a server may ask for a few times
            dialect = self._client.dialect
            body = teacher_body(sent, asked, index, endpoint, dialect)
            try:
                response = await self._paid(body, wanted.settings.per_source, deadline)
            except RequestFailed as failure:
                if not failure.refused or not self._adapted(failure, body, dialect):
                    raise TeacherFailed(_name(failure.reason)) from failure
            else:
                return self._usable(response, wanted, limited=any(map(sent.get, LENGTHS)))
        raise TeacherFailed("status")

    def _adapted(self, failure: RequestFailed, body: Mapping[str, Any], dialect: Dialect) -> bool:
        """Whether the request can be sent again, without a parameter that the server refused."""
        refused = refused_parameters(failure.message, failure.param, body)
        if not refused or "n" in refused:
            return False
        try:
            self._client.dialect = adapt(dialect, self._settings.endpoint, body, refused, failure.message)
        except GenerationError:
            return False
        return True

    async def _paid(self, body: Mapping[str, Any], texts: int, deadline: float) -> Response:
        """The response to one request, whose cost is counted before it is sent and corrected after it."""
        endpoint, most = self._settings.endpoint, self._settings.requests
        words = _words(body["messages"])
        # The bound of its cost is that of the messages as they are sent, and of the length that is requested.
        length = body[self._client.dialect.length_parameter]
        counted = endpoint.model_copy(update={"prompt": "{source}", "system": None, "max_tokens": length})
        reserved = max_cost(counted, words, texts)
        if not self._ledger.reserve(reserved, budget=endpoint.budget, requests=most):
            raise TeacherFailed("budget")
        cost, begun = reserved, time.monotonic()
        try:
            response = await self._client.send_body(body, max(0.0, deadline - time.monotonic()))
            exact = response_cost(response, counted, words, texts)
            cost = reserved if exact is None else exact
        except RequestFailed as failure:
            cost = reserved if failure.billed else 0.0
            if failure.retryable:
                # What follows the colon are the endpoint's words, which may repeat a source.
                known = failure.reason if _name(failure.reason) == UNREACHABLE else failure.reason.partition(":")[0]
                self._failed(known, begun, failure.retry_after_s)
            raise
        except GenerationError as error:
            cost = 0.0
            self._failures = max(self._failures, FAILURES_BEFORE_PAUSE)
            self._failed(str(error), begun)
            raise TeacherFailed("refused") from error
        finally:
            self._ledger.settle(reserved, cost)
        self._failures = 0
        for kind, tokens in (("source", response.input_tokens), ("text", response.output_tokens)):
            self._metrics.upstream.tokens.labels(kind).inc(tokens or 0)
        return response

    def _failed(self, reason: str, begun: float, retry_after_s: float = 0.0) -> None:
        """Counts a failure that others may follow; after some, nothing is sent for a while.

        What was sent before a pause began and fails within it or later says nothing new: it does not make it longer.
        """
        if begun < self._pause_begun:
            return
        self._failures += 1
        beyond = self._failures - FAILURES_BEFORE_PAUSE
        pause = min(LONGEST_PAUSE_S, max(2.0**beyond if beyond >= 0 else 0.0, retry_after_s))
        if pause:
            self._pause_begun = time.monotonic()
            self._paused_until = self._pause_begun + pause
            TEACHER_LOG.warning("WARNING: the student answers for the teacher for %g s: %s", pause, reason)

    def _usable(self, response: Response, wanted: TextRequest, *, limited: bool) -> TeacherReply:
        texts = wanted.settings.per_source
        if len(response.choices) < texts:
            raise TeacherFailed("malformed")
        answers = tuple(self._answer(choice, wanted, limited=limited) for choice in response.choices[:texts])
        return TeacherReply(answers, response.input_tokens, response.output_tokens)

    def _answer(self, choice: CompletionChoice, wanted: TextRequest, *, limited: bool) -> Answer:
        """A text that the run would learn from: what its filters reject is no answer."""
        cut = choice.finish_reason.lower() in TRUNCATED
        parsed = parse_response(choice, self._settings.endpoint)
        if parsed.rejected and not (cut and limited and choice.text.strip()):
            raise TeacherFailed("rejected")
        text = choice.text.strip() if parsed.rejected else parsed.text
        logprobs = _logprobs(choice.logprobs) if wanted.settings.logprobs else None
        return up_to_stop(Answer(text, 0, math.nan, finished=not cut, logprobs=logprobs), wanted.stop)


def teacher_body(
    sent: Mapping[str, Any], asked: Asked, index: int, endpoint: Endpoint, dialect: Dialect
) -> dict[str, Any]:
    """The body of the request to the endpoint: the client's own, or for a bare source one with the recorded prompt.

    A message that has the prompt around its source, or a system message before it, is what an application sends to the
    teacher; a bare source means nothing to it.

    Args:
        sent: the client's body.
        asked: the request.
        index: of the source.
        endpoint: model, prompt, and the parameters for a bare source that the client leaves out.
        dialect: what the server takes.
    """
    given = {name: value for name, value in sent.items() if value is not None and name not in NOT_SENT_ON}
    source, texts = asked.wanted.sources[index], asked.wanted.settings.per_source
    if asked.kind == "completion":
        given = {name: value for name, value in given.items() if name in OF_COMPLETIONS}
        given |= {"logprobs": True} if asked.wanted.settings.logprobs else {}
    messages = given.pop("messages", [])
    if asked.kind == "completion" or (len(messages) == 1 and _words(messages) == source):
        body = request_body(endpoint, dialect, source, texts) | given
    else:
        body = {"messages": messages, **given}
    limits = [sent[name] for name in LENGTHS if sent.get(name)]
    length = {"model": endpoint.model, dialect.length_parameter: min([endpoint.max_tokens, *limits])}
    return {name: value for name, value in (body | length).items() if name not in dialect.dropped}


def _words(messages: Sequence[Mapping[str, Any]]) -> str:
    """All texts of messages, a line each."""
    contents = [message.get("content") or "" for message in messages]
    parts = [[content] if isinstance(content, str) else [part["text"] for part in content] for content in contents]
    return "\n".join(text for several in parts for text in several)


def _logprobs(positions: Sequence[Mapping[str, Any]] | None) -> tuple[TokenLogprob, ...] | None:
    """Log-probabilities as `api_teacher` parses them, whose tokens are texts or bytes."""
    return (
        None
        if positions is None
        else tuple(
            TokenLogprob(token.encode() if isinstance(token := one["token"], str) else bytes(token), one["logprob"])
            for one in positions
        )
    )


def _share(until: float) -> float:
    now = time.monotonic()
    return now + SHARE_OF_TIME * (until - now)


def _name(reason: str) -> str:
    return next((name for start, name in REASONS.items() if reason.startswith(start)), UNREACHABLE)
