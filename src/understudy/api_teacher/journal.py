"""The journal of an API teacher: the response cache, one JSON line per event in a file that only grows.

Each request is recorded before it is sent, and each response as soon as it arrives. A killed process leaves at most a
truncated last line and requests without an end. The next process counts these at their maximum cost, and requests
nothing that was already answered. Responses are stored as the server sent them; `response_filter` parses them anew
whenever they are read.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from understudy.errors import PoolError, first_line


@dataclass(frozen=True)
class CompletionChoice:
    """One text of a response."""

    text: str
    finish_reason: str
    """Why the text ended, in the server's words: stop, length, content_filter."""
    logprobs: Sequence[Mapping[str, object]] | None = None
    """Log-probabilities by position, as the server sent them; written to the file, not kept in memory."""
    reasoned: bool = False
    """Whether the text is empty and the server sent reasoning in its place."""


@dataclass
class OpenBatch:
    """Requests that were uploaded to the batch API and have not ended."""

    requests: dict[int, int]
    """Number of each -> the number of its texts."""
    batch: str = ""
    """The batch's id; empty if the process ended before the server had returned one."""


@dataclass
class Journal:
    """All requests and responses so far. Sources are identified by content, so ids and the file's order may change."""

    path: Path
    choices: dict[str, list[CompletionChoice]] = field(default_factory=dict)
    """Source key -> the texts received for it."""
    failures: dict[str, str] = field(default_factory=dict)
    """Source key -> why its last request failed."""
    spent: float = 0.0
    """Cost of the answered requests, plus the maximum cost of the others that may have been billed."""
    pending: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Number of each request in flight -> its source key and maximum cost."""
    requests: int = 0
    batches: dict[str, OpenBatch] = field(default_factory=dict)
    """Id of an uploaded file -> its batch; these requests stay pending when the process ends."""

    @classmethod
    def open(cls, path: Path, *, fingerprint: Mapping[str, object]) -> "Journal":
        """The journal in a file, created if the file does not exist.

        Args:
            path: the file.
            fingerprint: the settings that determine a response; a journal with other settings is refused.

        Raises:
            PoolError: if the journal was written with other settings, or a line before the last is damaged.
        """
        plain = json.loads(json.dumps(fingerprint))
        *lines, truncated = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        journal = cls(path)
        if truncated:
            os.truncate(path, path.stat().st_size - len(truncated))
        for number, line in enumerate(lines, start=1):
            event = _parse_event(path, number, line)
            if (number == 1) != ("fingerprint" in event):
                raise _damaged(path, number, "the settings stand in the first line and in no other")
            try:
                journal._replay(event, plain)
            except (LookupError, TypeError, ValueError) as error:
                raise _damaged(path, number, f"unusable event: {type(error).__name__}: {error!s:.100}") from error
        if not lines:
            journal._append({"fingerprint": plain})
        in_batches = {number for batch in journal.batches.values() for number in batch.requests}
        for number in journal.pending.keys() - in_batches:
            journal.spent += journal.pending.pop(number)[1]
        return journal

    @property
    def committed(self) -> float:
        """The amount spent, plus the maximum cost of the requests in flight."""
        return self.spent + sum(max_cost for _, max_cost in self.pending.values())

    def record_request(self, source: str, max_cost: float) -> int:
        """Records a request before it is sent, and returns its number."""
        self.requests += 1
        self._append({"sent": self.requests, "source": source_key(source), "max_cost": max_cost})
        self.pending[self.requests] = source_key(source), max_cost
        return self.requests

    def record_end(
        self, request: int, *, cost: float | None, choices: Sequence[CompletionChoice] = (), failure: str = ""
    ) -> None:
        """Records how a request ended. A cost of None counts as the maximum: it is unknown whether it was billed."""
        rows = [_row(choice) for choice in choices]
        self._append({"ended": request, "cost": cost, "choices": rows, "failure": failure})
        self._end(request, cost, choices)

    def record_batch(self, file: str, *, requests: Mapping[int, int] | None = None, batch: str = "") -> None:
        """Records that requests (number -> texts) were uploaded as a file, or the batch that was made of the file."""
        event = {"batch_file": file, "batch": batch, "requests": list((requests or {}).items())}
        self._append(event)
        self._replay_batch(event)

    def record_batch_end(self, file: str) -> None:
        """Records that every request of a batch has ended."""
        self._append({"batch_ended": file})
        self.batches.pop(file)

    def import_responses(self, responses: Iterable[tuple[str, CompletionChoice]]) -> None:
        """Records responses collected elsewhere, at no cost, for the sources that have none here."""
        by_source: dict[str, list[CompletionChoice]] = {}
        for source, choice in responses:
            by_source.setdefault(source, []).append(choice)
        for source, choices in by_source.items():
            if not self.responses(source):
                self._append({"imported": source_key(source), "choices": [_row(choice) for choice in choices]})
                self._keep(source_key(source), choices)

    def record_failure(self, source: str, reason: str) -> None:
        """Records that a source was given up after its last attempt."""
        self._append({"failed": source_key(source), "reason": reason})
        self.failures[source_key(source)] = reason

    def clear_failure(self, source: str) -> None:
        """Deletes the recorded failure of a source, because it is requested again."""
        self.failures.pop(source_key(source), None)

    def responses(self, source: str) -> list[CompletionChoice]:
        """The texts received for a source, without log-probabilities."""
        return self.choices.get(source_key(source), [])

    def failure(self, source: str) -> str:
        """Why a source has no response; empty if it has one or was not requested."""
        return self.failures.get(source_key(source), "")

    def _end(self, request: int, cost: float | None, choices: Sequence[CompletionChoice]) -> None:
        source, max_cost = self.pending.pop(request)
        self.spent += max_cost if cost is None else cost
        if choices:
            self._keep(source, choices)

    def _keep(self, key: str, choices: Sequence[CompletionChoice]) -> None:
        kept = [replace(choice, logprobs=None) for choice in choices]
        self.choices.setdefault(key, []).extend(kept)
        self.failures.pop(key, None)

    def _replay(self, event: Mapping[str, Any], fingerprint: Mapping[str, object]) -> None:
        """Applies an event of the file. Any exception but PoolError means that the event is damaged."""
        if "fingerprint" in event:
            _refuse_other_settings(self.path, dict(event["fingerprint"]), fingerprint)
        elif "sent" in event:
            self.requests = _next(event["sent"], self.requests)
            self.pending[self.requests] = _text(event["source"]), _amount(event["max_cost"])
        elif "ended" in event:
            cost = event["cost"]
            self._end(event["ended"], None if cost is None else _amount(cost), _choices(event["choices"]))
        elif "imported" in event:
            self._keep(_text(event["imported"]), _choices(event["choices"]))
        elif "batch_file" in event:
            self._replay_batch(event)
        elif "batch_ended" in event:
            self.batches.pop(event["batch_ended"])
        else:
            self.failures[_text(event["failed"])] = _text(event["reason"])

    def _replay_batch(self, event: Mapping[str, Any]) -> None:
        requests = {number: int(_amount(texts)) for number, texts in event["requests"]}
        if unknown := requests.keys() - self.pending.keys():
            raise KeyError(f"request {min(unknown)} was not sent")
        open_batch = self.batches.setdefault(_text(event["batch_file"]), OpenBatch(requests))
        open_batch.batch = _text(event["batch"])

    def _append(self, event: Mapping[str, object]) -> None:
        # Closed, not synced: the system keeps what a killed process wrote, and a sync would take milliseconds each.
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        except OSError:  # a full disk: half a line must not come before the next one
            os.truncate(self.path, before)
            raise


def iter_responses(path: Path) -> Iterator[tuple[str, CompletionChoice]]:
    """Every text of a journal in the order received, with its log-probabilities, by source key.

    Texts are read one at a time: with log-probabilities, all of them may not fit the memory.
    """
    open_requests: dict[int, str] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if "sent" in event:
                open_requests[event["sent"]] = event["source"]
            elif "ended" in event:
                source = open_requests.pop(event["ended"])
                yield from ((source, CompletionChoice(**choice)) for choice in event["choices"])
            elif "imported" in event:
                yield from ((event["imported"], CompletionChoice(**choice)) for choice in event["choices"])


def source_key(source: str) -> str:
    """The key of a source in a journal: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _parse_event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number, first_line(error)) from error
    if not isinstance(event, dict):
        raise _damaged(path, number, f"{event!r:.60} is no event")
    return event


def _damaged(path: Path, number: int, finding: str) -> PoolError:
    return PoolError(
        f"{path} line {number}: the journal of responses is damaged ({finding}); restore it from a copy, or move it "
        "away to request everything again"
    )


def _next(value: object, before: int) -> int:
    """The number of a request: they are counted from 1, so that a missing line is noticed."""
    if type(value) is not int or value != before + 1:
        raise ValueError(f"{value!r:.40} follows {before}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _amount(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise TypeError(f"{value!r:.40} is no amount")
    return value


def _row(choice: CompletionChoice) -> dict[str, object]:
    """A text as the file holds it; `reasoned` is left out where it is false, as it is nearly always."""
    return {name: value for name, value in vars(choice).items() if name != "reasoned" or value}


def _choices(rows: object) -> list[CompletionChoice]:
    if not isinstance(rows, list):
        raise TypeError(f"{rows!r:.40} is no list of texts")
    choices = [CompletionChoice(**row) for row in rows]
    for choice in choices:
        _text(choice.text), _text(choice.finish_reason)
        if not isinstance(choice.reasoned, bool):
            raise TypeError(f"{choice.reasoned!r:.40} is neither true nor false")
        if not isinstance(choice.logprobs, list | None) or not all(
            isinstance(one, dict) for one in choice.logprobs or ()
        ):
            raise TypeError(f"{choice.logprobs!r:.40} are no log-probabilities")
    return choices


def _refuse_other_settings(path: Path, found: Mapping[str, object], requested: Mapping[str, object]) -> None:
    changed = [
        f"{key} was {found.get(key)!r} and is now {requested.get(key)!r}"
        for key in dict.fromkeys([*requested, *found])
        if found.get(key) != requested.get(key)
    ]
    if changed:
        raise PoolError(
            f"{path} holds responses to other requests: {'; '.join(changed)}. Restore the settings, or choose "
            "another output folder (--out)"
        )
