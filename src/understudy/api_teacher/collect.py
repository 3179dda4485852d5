"""Collects texts for inputs from an API teacher: the command `collect`, and the requests of a recipe's stage.

Responses are written as labeled examples that any recipe can read. What becomes of the responses of a recipe is in
`responses` and `response_logprobs`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from understudy.api_teacher.batch import Batches, finish_open, request_batches
from understudy.api_teacher.client import open_client, read_key
from understudy.api_teacher.collect_files import (
    read_inputs,
    unique_examples,
    usable_texts,
    write_results,
)
from understudy.api_teacher.costs import BATCH_DISCOUNT, max_cost, shown_amount
from understudy.api_teacher.first_requests import Probe, refuse_refused, refuse_without_logprobs, smoke_report
from understudy.api_teacher.journal import Journal
from understudy.api_teacher.kd4gen_import import read_kd4gen_responses
from understudy.api_teacher.scheduler import (
    AsyncClock,
    PromptGroup,
    RequestOutcome,
    missing_texts,
    outcome_of,
    request_all,
    request_groups,
)
from understudy.config.decoding import PoolDecoding, Sampling
from understudy.config.endpoint import Endpoint, Server
from understudy.errors import GenerationError
from understudy.progress import NoProgress, Progress, ProgressCallback
from understudy.records import Example
from understudy.store.disk import checksum, disk_errors, make_folder
from understudy.store.locks import hold

JOURNAL = "journal.jsonl"
DEFAULT_FOLDER = "responses"
"""The default folder of the command."""
MAX_FAILED_SHARE = 0.1
"""Share of inputs that may fail after all attempts; beyond it the server is the problem, not the inputs."""
QUIET = NoProgress()


@dataclass(frozen=True)
class CollectResult:
    """What was collected, and where it was written."""

    folder: Path
    """Holds responses.jsonl, failed.jsonl and journal.jsonl."""
    outcome: RequestOutcome
    texts: int
    """Number of usable texts."""


def collect(
    inputs: str | Path | Sequence[Example],
    endpoint: Endpoint,
    *,
    out: str | Path = DEFAULT_FOLDER,
    progress: Progress = QUIET,
) -> CollectResult:
    """Requests texts for every input from an endpoint, and writes them as labeled examples.

    Inputs that the same settings already answered in the same folder are not requested again. `responses.jsonl` holds
    a record {id, source, targets} with the other columns of the input for each input with a usable text, and
    `failed.jsonl` every other input with the reason (see `collect_files`). Both files are written even if the requests
    end with an error.

    Args:
        inputs: a JSONL, CSV, TSV or Parquet file with sources, or examples.
        endpoint: the server, the prompt, and the limits.
        out: the folder of the journal and the results.
        progress: shows the requests.

    Raises:
        DataError: if the inputs cannot be read.
        GenerationError: if the server refuses every request, or the client or the key is missing.
        PoolError: if the folder holds responses of other settings.
        StoreError: if another process collects responses in the same folder, or the folder cannot be written.
    """
    rows, folder = read_inputs(inputs, progress.log), Path(out)
    examples = unique_examples(rows)
    with disk_errors(folder), exclusive_journal(folder, endpoint) as journal:
        try:
            collect_groups([PromptGroup(examples, endpoint)], journal, progress)
        finally:
            write_results(rows, journal, endpoint, folder)
        return CollectResult(folder, outcome_of(examples, journal, endpoint), usable_texts(examples, journal, endpoint))


def collect_groups(groups: Sequence[PromptGroup], journal: Journal, progress: Progress) -> None:
    """Requests the texts that the journal lacks, after a line on their maximum cost.

    Raises:
        GenerationError: if the server refuses every request, or the client or the key is missing.
    """
    progress.log(_estimate(groups, journal))
    if not any(_missing(group, journal) for group in groups):
        return
    read_key(groups[0].endpoint)
    title, total = f"requests to {groups[0].endpoint.model}", sum(len(group.examples) for group in groups)
    with progress.track(title, total, "input") as advance:
        requests = _request_all_groups(groups, journal, progress, advance)
        try:
            asyncio.run(requests)
        finally:
            requests.close()  # a signal may come before it begins, and Python warns of a coroutine that was never run


@contextmanager
def exclusive_journal(folder: Path, endpoint: Endpoint, *, wait: bool = False) -> Iterator[Journal]:
    """The journal of a folder, which no other process can open meanwhile.

    Args:
        folder: created if it does not exist.
        endpoint: the settings of the requests.
        wait: whether to wait for another process that has it open, instead of refusing.

    Raises:
        DataError: if `endpoint.recorded` cannot be read.
        PoolError: if the folder holds responses of other settings.
        StoreError: if another process has it open.
    """
    make_folder(folder)
    with hold(folder / ".lock", wait=wait, making=folder / JOURNAL):
        yield open_journal(folder, endpoint)


def open_journal(folder: Path, endpoint: Endpoint) -> Journal:
    """The journal of a folder, with the responses that `endpoint.recorded` brings.

    Raises:
        DataError: if these cannot be read.
        PoolError: if the folder holds responses of other settings.
    """
    journal = Journal.open(folder / JOURNAL, fingerprint=request_fingerprint(endpoint))
    if endpoint.recorded:
        journal.import_responses(read_kd4gen_responses(endpoint.recorded))
    return journal


def request_fingerprint(endpoint: Endpoint) -> dict[str, object]:
    """The settings that determine the responses, with a checksum of the recorded ones."""
    if endpoint.recorded is None or not endpoint.recorded.is_file():
        return endpoint.request_settings
    return endpoint.request_settings | {"recorded": checksum(endpoint.recorded)}


def endpoint_for(server: Server, decoding: PoolDecoding, per_input: int) -> Endpoint:
    """The endpoint settings of a recipe: its server, with `pseudo_targets.decoding` and `per_input`.

    Of the decoding, temperature and top_p are sent; every decoding but sampling is greedy.
    """
    sampling = {"temperature": 0.0, "top_p": 1.0}
    if isinstance(decoding, Sampling):
        sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p}
    return Endpoint.model_validate({**server.model_dump(), **sampling, "per_input": per_input})


def refuse_unanswered(result: CollectResult, endpoint: Endpoint) -> None:
    """Raises if the budget left inputs out, or no response is usable.

    Raises:
        GenerationError: with the amount spent and what to do.
    """
    _refuse_over_budget(result.outcome, endpoint)
    if not result.texts:
        raise GenerationError(
            f"no input has a usable text, and {shown_amount(result.outcome.spent)} is spent; fix the reasons listed "
            "above (is the server running? does the pattern `answer` match? is max_tokens large enough?) and run the "
            "same command again"
        )


def refuse_incomplete(groups: Sequence[PromptGroup], journal: Journal) -> None:
    """Raises if the budget left inputs out, or more than a tenth of a group failed.

    Raises:
        GenerationError: with the counts, the most frequent reason, and what to do. The responses are kept.
    """
    for group in groups:
        outcome = outcome_of(group.examples, journal, group.endpoint)
        _refuse_over_budget(outcome, group.endpoint)
        if len(outcome.failed) > MAX_FAILED_SHARE * len(group.examples):
            reason, count = Counter(outcome.failed.values()).most_common(1)[0]
            raise GenerationError(
                f"{len(outcome.failed)} of {len(group.examples)} inputs failed after all attempts, {count} of them "
                f"with: {reason}. Check the server and run the same command again; the responses so far are kept"
            )


def _refuse_over_budget(outcome: RequestOutcome, endpoint: Endpoint) -> None:
    if outcome.over_budget:
        raise GenerationError(
            f"the budget of {endpoint.budget} is reached: {shown_amount(outcome.spent)} is spent and "
            f"{outcome.over_budget} inputs were not requested; the responses so far are kept. Raise `budget` and run "
            "the same command again"
        )


async def _request_all_groups(
    groups: Sequence[PromptGroup], journal: Journal, progress: Progress, advance: ProgressCallback
) -> None:
    """Requests one input, then the smoke round, then the others; each input of each group once."""
    clock, endpoint = AsyncClock(time.monotonic, asyncio.sleep), groups[0].endpoint
    requested: set[tuple[int, str]] = set()
    async with open_client(endpoint) as client:
        probe = Probe(client)

        async def request(group: PromptGroup, examples: Sequence[Example]) -> None:
            part = [example for example in examples if (id(group), example.id) not in requested]
            requested.update((id(group), example.id) for example in part)
            await request_all(part, probe.send, journal, group.endpoint, clock=clock, advance=advance)

        batches = Batches(groups, client, journal, clock, progress)
        await finish_open(batches)  # before the probe, which would request an input of them again
        lacking = [(group, example) for group in groups for example in _lacking(group, journal)]
        if not lacking:
            return
        await request(lacking[0][0], [lacking[0][1]])
        refuse_refused(probe, journal)
        if probe.findings:
            progress.log(probe.findings)
        sample = groups[0].examples[: endpoint.smoke_inputs]
        if sample and len(_lacking(groups[0], journal)) > len(_lacking(PromptGroup(sample, endpoint), journal)):
            await request(groups[0], sample)
            progress.log(smoke_report(sample, journal, endpoint))
            refuse_without_logprobs(endpoint, probe)
        if endpoint.batch:
            await request_batches(batches)
            return
        for group in groups:
            await request(group, group.examples)


def _estimate(groups: Sequence[PromptGroup], journal: Journal) -> str:
    """The number of requested texts and their maximum cost, for a line before the first request."""
    endpoint, inputs = groups[0].endpoint, sum(len(group.examples) for group in groups)
    share = BATCH_DISCOUNT if endpoint.batch else 1.0
    missing = [pair for group in groups for pair in _missing(group, journal)]
    texts = sum(count for _, count in missing)
    line = f"{len(missing)} of {inputs} inputs need {texts} more texts of {endpoint.model}"
    if endpoint.price is None:
        return line
    most = sum(
        max_cost(endpoint, source, size, share=share)
        for source, count in missing
        for size in request_groups(endpoint, count)
    )
    limit = "" if endpoint.budget is None else f", budget {endpoint.budget}"
    spent = f"{shown_amount(journal.spent)} spent"
    return f"{line}; maximum cost {shown_amount(most)} (all texts of max_tokens), {spent}{limit}"


def _lacking(group: PromptGroup, journal: Journal) -> list[Example]:
    return [example for example in group.examples if missing_texts(example, journal, group.endpoint)]


def _missing(group: PromptGroup, journal: Journal) -> list[tuple[str, int]]:
    """The sources that lack texts, and how many."""
    return [(example.source, missing_texts(example, journal, group.endpoint)) for example in _lacking(group, journal)]
