"""Texts for inputs from a teacher behind an endpoint, before any recipe: a file of examples to learn from."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.api_teacher.client import open_endpoint
from understudy.api_teacher.journal import Journal
from understudy.api_teacher.kd4gen_import import recorded
from understudy.api_teacher.response_filter import parse_response
from understudy.api_teacher.scheduler import Clock, Outcome, max_cost, outcome_of, request_all, request_groups
from understudy.config.endpoint import Endpoint
from understudy.errors import StoreError
from understudy.progress import NoProgress, Progress, ProgressCallback
from understudy.records import Example
from understudy.store.disk import checksum, make_folder, room_on, write_text
from understudy.store.stages import claim
from understudy.tasks.files import read_examples

JOURNAL, RESPONSES, FAILED = "journal.jsonl", "answers.jsonl", "failed.jsonl"
QUIET = NoProgress()


@dataclass(frozen=True)
class CollectResult:
    """What an endpoint was asked, and where its answers lie."""

    folder: Path
    outcome: Outcome
    texts: int


@dataclass(frozen=True)
class PromptGroup:
    """Inputs that an endpoint is asked about alike: how many texts each, the endpoint says."""

    examples: Sequence[Example]
    endpoint: Endpoint


def ask(inputs: Path, endpoint: Endpoint, *, out: Path, progress: Progress = QUIET) -> CollectResult:
    """Asks an endpoint about every input of a file, and writes what it answered as labelled examples.

    What was answered before, in the same folder and by the same settings, is not asked again. `answers.jsonl` holds
    a record {id, source, targets} for each input with a usable text, `failed.jsonl` each other input with the reason.

    Args:
        inputs: JSONL, CSV, TSV or Parquet with sources.
        endpoint: whom to ask, and within which limits.
        out: the folder of journal and answers.
        progress: hears about it.

    Raises:
        DataError: if the inputs cannot be read.
        GenerationError: if the server refuses us, or there is no client or key.
        PoolError: if the folder holds the answers of other settings.
        StoreError: if another process asks in the same folder.
    """
    examples = read_examples(inputs, split="unlabeled", labelled=False)
    make_folder(out)
    with room_on(out), claim(out / ".lock") as alone:
        if not alone:
            raise StoreError(f"another process is asking in {out}; wait for it, or give another --out")
        journal = open_journal(out, endpoint)
        try:
            put([PromptGroup(examples, endpoint)], journal, progress)
        finally:  # what was answered is delivered, however the asking ends
            texts = _write(examples, journal, endpoint, out)
        return CollectResult(out, outcome_of(examples, journal, endpoint), texts)


def open_journal(folder: Path, endpoint: Endpoint) -> Journal:
    """The journal of a folder, with the answers that were bought before.

    Raises:
        DataError: if these cannot be read.
        PoolError: if the folder holds the answers of other settings.
    """
    journal = Journal.at(folder / JOURNAL, determines=request_fingerprint(endpoint))
    if endpoint.recorded:
        journal.take_over(recorded(endpoint.recorded))
    return journal


def request_fingerprint(endpoint: Endpoint) -> dict[str, object]:
    """What decides the answers: the question, and those that were bought before."""
    known = endpoint.recorded is not None and endpoint.recorded.is_file()
    return {**endpoint.determines, **({"recorded": checksum(endpoint.recorded)} if known and endpoint.recorded else {})}


def put(questions: Sequence[PromptGroup], journal: Journal, progress: Progress) -> None:
    """Asks what the journal lacks, after a word on what that can cost.

    Raises:
        GenerationError: if the server refuses us, or there is no client or key.
    """
    progress.log(_estimate(questions, journal))
    if not any(missing for question in questions for _, missing in _missing(question, journal)):
        return
    with progress.track(
        f"{questions[0].endpoint.model} answers", sum(len(question.examples) for question in questions), "input"
    ) as advance:
        asyncio.run(_ask(questions, journal, advance))


async def _ask(questions: Sequence[PromptGroup], journal: Journal, advance: ProgressCallback) -> None:
    clock = Clock(time.monotonic, asyncio.sleep)
    async with open_endpoint(questions[0].endpoint) as asking:
        for question in questions:
            await request_all(question.examples, asking, journal, question.endpoint, clock=clock, advance=advance)


def _estimate(questions: Sequence[PromptGroup], journal: Journal) -> str:
    """What is asked, and what it can cost, before the first request."""
    endpoint, inputs = questions[0].endpoint, sum(len(question.examples) for question in questions)
    missing = [one for question in questions for one in _missing(question, journal)]
    texts = sum(count for _, count in missing)
    words = f"{len(missing)} of {inputs} inputs are to be asked about, for {texts} texts"
    if endpoint.price is None:
        return words
    most = sum(
        max_cost(endpoint, source, portion) for source, count in missing for portion in request_groups(endpoint, count)
    )
    limit = "" if endpoint.budget is None else f", budget {endpoint.budget}"
    return f"{words}; at most {most:.2f} if every answer is as long as it may be, {journal.spent:.4f} spent{limit}"


def _missing(question: PromptGroup, journal: Journal) -> list[tuple[str, int]]:
    """Sources that lack texts, and how many."""
    wanted = question.endpoint.per_input
    counts = [(example.source, wanted - len(journal.answers(example.source))) for example in question.examples]
    return [(source, count) for source, count in counts if count > 0]


def _write(examples: Sequence[Example], journal: Journal, endpoint: Endpoint, out: Path) -> int:
    """Both files; the number of usable texts."""
    answered, failed, count = [], [], 0
    for example in examples:
        verdicts = [parse_response(choice, endpoint) for choice in journal.answers(example.source)]
        texts = [verdict.text for verdict in verdicts if not verdict.rejected]
        if texts:
            answered.append({"id": example.id, "source": example.source, "targets": list(dict.fromkeys(texts))})
        else:
            reasons = dict.fromkeys(verdict.rejected for verdict in verdicts)
            why = journal.failure(example.source) or ", ".join(reasons) or "not asked yet"
            failed.append({"id": example.id, "reason": why})
        count += len(texts)
    for name, rows in ((RESPONSES, answered), (FAILED, failed)):
        write_text(out / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return count
