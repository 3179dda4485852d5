"""The batch API: requests are uploaded as a file and answered within 24 hours, at half the price.

An upload is journalled before its batch is created, and the batch as soon as it has an id, so a killed process resumes
the batches that it has paid for. Meanwhile their requests are pending in the journal, and count for the budget.
"""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.api_teacher.client import BATCH_BYTES, BATCH_CALL_S, ApiClient
from understudy.api_teacher.costs import BATCH_DISCOUNT, max_cost, response_cost
from understudy.api_teacher.journal import Journal, OpenBatch, source_key
from understudy.api_teacher.request_body import request_body
from understudy.api_teacher.request_types import RequestFailed
from understudy.api_teacher.response_body import parse_completion, response_limit
from understudy.api_teacher.scheduler import AsyncClock, PromptGroup, backoff_s, missing_texts, request_groups
from understudy.errors import GenerationError
from understudy.progress import Progress

FIRST_POLL_S, LONGEST_POLL_S = 5.0, 60.0
"""Pauses between two looks at a batch: each is twice the last one."""
MOST_REQUESTS = 50_000
"""Requests in a batch, as OpenAI allows; fewer if their output could not be read at once."""
COMPLETIONS = "/v1/chat/completions"
RUNNING = {"validating", "in_progress", "finalizing", "cancelling"}
ENDED = {"completed", "failed", "expired", "cancelled"}
OK, SERVER_ERROR = 200, 500

Requested = tuple[str, int]
"""A source and the number of texts requested for it."""


@dataclass(frozen=True)
class Batches:
    """What the functions of this module share."""

    groups: Sequence[PromptGroup]
    client: ApiClient
    journal: Journal
    clock: AsyncClock
    progress: Progress


async def request_batches(batches: Batches) -> None:
    """Requests the texts that the journal lacks in batches, round after round until each has its texts or has failed.

    Raises:
        GenerationError: if the server refuses the batches or cannot be reached. The same call later resumes them.
    """
    endpoint, journal = batches.client.endpoint, batches.journal
    attempts: Counter[str] = Counter()
    while wanted := _affordable(_wanted(batches), batches):
        size = max(1, min(MOST_REQUESTS, BATCH_BYTES // response_limit(endpoint, batches.client.dialect.per_request)))
        for start in range(0, len(wanted), size):
            await _upload(wanted[start : start + size], batches)
        await finish_open(batches)
        attempts.update(source for source, _ in wanted)
        for source, _ in _wanted(batches):
            if attempts[source] == endpoint.attempts:
                journal.record_failure(source, f"no text after {endpoint.attempts} batches")


def _wanted(batches: Batches) -> list[Requested]:
    """The sources that lack texts and have not failed, and how many."""
    missing = [
        (example.source, missing_texts(example, batches.journal, group.endpoint))
        for group in batches.groups
        for example in group.examples
        if not batches.journal.failure(example.source)
    ]
    return [(source, count) for source, count in missing if count]


def _affordable(wanted: Sequence[Requested], batches: Batches) -> list[Requested]:
    """The first of these requests, as many as the budget covers at their maximum cost."""
    endpoint, committed = batches.client.endpoint, batches.journal.committed
    kept: list[Requested] = []
    for source, missing in wanted:
        texts = min(request_groups(endpoint, missing)[0], batches.client.dialect.per_request)
        committed += max_cost(endpoint, source, texts, share=BATCH_DISCOUNT)
        if endpoint.budget is not None and committed > endpoint.budget:
            break
        kept.append((source, texts))
    return kept


async def _upload(wanted: Sequence[Requested], batches: Batches) -> None:
    client, journal = batches.client, batches.journal
    lines: list[str] = []
    texts_of: dict[int, int] = {}
    for source, texts in wanted:
        number = journal.record_request(source, max_cost(client.endpoint, source, texts, share=BATCH_DISCOUNT))
        body = request_body(client.endpoint, client.dialect, source, texts)
        lines.append(json.dumps({"custom_id": str(number), "method": "POST", "url": COMPLETIONS, "body": body}) + "\n")
        texts_of[number] = texts
    content = "".join(lines).encode()
    upload = client.openai.files.with_raw_response.create
    try:
        reply = await _call(lambda: upload(file=("requests.jsonl", content), purpose="batch"), batches)
        journal.record_batch(_id(reply, "id", client), requests=texts_of)
    except GenerationError:
        for number in texts_of:  # a file without a batch is not answered and not billed
            journal.record_end(number, cost=0.0, failure="upload failed")
        raise


async def finish_open(batches: Batches) -> None:
    """Creates the batches of all uploaded files, then waits for each and records its results."""
    journal = batches.journal
    for file, batch in list(journal.batches.items()):
        if not batch.batch:
            journal.record_batch(file, batch=await _create(file, batches))
    sources = {source_key(example.source): example.source for group in batches.groups for example in group.examples}
    for file, batch in list(journal.batches.items()):
        batches.progress.log(f"batch {batch.batch}: waiting for {len(batch.requests)} responses")
        ended = await _wait(batch, batches)
        for name in ("output_file_id", "error_file_id"):
            if ended.get(name):
                await _record_results(_id(ended, name, batches.client), batch, sources, batches)
        status = ended["status"]
        for number in batch.requests.keys() & journal.pending.keys():  # not in the output: not answered, not billed
            journal.record_end(number, cost=0.0, failure=f"batch {status}")
        journal.record_batch_end(file)
        if status == "failed":
            raise GenerationError(
                f"batch {batch.batch} at {batches.client.url} failed: {json.dumps(ended.get('errors'))[:200]}; nothing "
                "of it is billed. Change what it names, or set batch: false, and run the same command again"
            )


async def _create(file: str, batches: Batches) -> str:
    """The id of the file's batch, created unless it exists: an earlier process may have ended before it had the id."""
    api = batches.client.openai.batches.with_raw_response
    listed = (await _call(lambda: api.list(limit=100), batches)).get("data")
    for batch in listed if isinstance(listed, list) else []:
        if isinstance(batch, Mapping) and batch.get("input_file_id") == file:
            return _id(batch, "id", batches.client)
    created = await _call(
        lambda: api.create(input_file_id=file, endpoint=COMPLETIONS, completion_window="24h"), batches, attempts=1
    )
    return _id(created, "id", batches.client)


async def _wait(batch: OpenBatch, batches: Batches) -> Mapping[str, Any]:
    """The batch as the server describes it, once it has ended."""
    api, pause_s = batches.client.openai.batches.with_raw_response, FIRST_POLL_S
    while True:
        reply = await _call(lambda: api.retrieve(batch.batch), batches)
        status = reply.get("status")
        if status in ENDED:
            return reply
        if status not in RUNNING:
            raise GenerationError(
                f"batch {batch.batch} at {batches.client.url} has the unknown status {status!r:.60}; look at it in the "
                "provider's console, and run the same command again to resume"
            )
        await batches.clock.sleep(pause_s)
        pause_s = min(LONGEST_POLL_S, 2 * pause_s)


async def _record_results(file: str, batch: OpenBatch, sources: Mapping[str, str], batches: Batches) -> None:
    """Records the end of each request that a result file answers; lines that answer none are ignored."""
    content = await _send(lambda: batches.client.openai.files.with_raw_response.content(file), batches)
    for line in content.split(b"\n"):
        try:
            result = json.loads(line)
            number = int(result["custom_id"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if number in batch.requests and number in batches.journal.pending:
            source = sources.get(batches.journal.pending[number][0])
            _record_result(number, result.get("response"), source, batch.requests[number], batches)


def _record_result(number: int, response: object, source: str | None, texts: int, batches: Batches) -> None:
    client, journal = batches.client, batches.journal
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if not isinstance(response, Mapping) or status != OK:
        reason = _words_of_refusal(status, response, client)
        journal.record_end(number, cost=0.0, failure=f"batch: {reason}")
        refused = isinstance(status, int) and status < SERVER_ERROR
        if source is not None and refused:  # the same request would be refused again
            journal.record_failure(source, reason)
        return
    try:
        reply = parse_completion(response.get("body"), client.endpoint, texts)
    except RequestFailed as failure:
        journal.record_end(number, cost=None, failure=failure.reason)
        return
    cost = None if source is None else response_cost(reply, client.endpoint, source, texts)
    discounted = None if cost is None else BATCH_DISCOUNT * cost
    journal.record_end(number, cost=discounted, choices=reply.choices)


def _words_of_refusal(status: object, response: object, client: ApiClient) -> str:
    """What the server said of a request that it did not answer, as of one that is sent by itself."""
    if not isinstance(status, int) or not isinstance(response, Mapping):
        return f"HTTP status {status!r:.10}"
    error = client.status_error(status, {}, json.dumps(response.get("body")).encode())
    return error.reason if isinstance(error, RequestFailed) else str(error)


async def _call(
    request: Callable[[], Awaitable[Any]], batches: Batches, *, attempts: int | None = None
) -> Mapping[str, Any]:
    """The JSON object that answers a call of the batch API."""
    body = await _send(request, batches, attempts=attempts)
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, Mapping):
        raise GenerationError(f"the batch API at {batches.client.url} answered no JSON object; set batch: false")
    return reply


async def _send(request: Callable[[], Awaitable[Any]], batches: Batches, *, attempts: int | None = None) -> bytes:
    """The body that answers a call, which is repeated with backoff."""
    last = attempts or batches.client.endpoint.attempts
    for attempt in range(1, last + 1):
        try:
            return (await batches.client.call(request, BATCH_CALL_S)).body
        except RequestFailed as failure:
            if attempt == last or not failure.retryable:
                raise GenerationError(
                    f"the batch API at {batches.client.url} failed: {failure.reason}; run the same command again to "
                    "resume, or set batch: false"
                ) from failure
            await batches.clock.sleep(max(failure.retry_after_s, backoff_s("batch", attempt)))
    raise AssertionError(attempts)


def _id(reply: Mapping[str, Any], name: str, client: ApiClient) -> str:
    """An id that the server has chosen; it becomes a part of an address."""
    value = reply.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]{1,200}", value, re.ASCII):
        raise GenerationError(f"the batch API at {client.url} answered without a usable {name}: {value!r:.60}")
    return value
