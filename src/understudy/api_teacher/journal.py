"""The journal of an API teacher: the response cache, one JSON line per event in a file that only grows.

Each request is recorded before it is sent, and each response as soon as it arrives. A killed process leaves at most a
truncated last line and requests without an end. The next process counts these at their maximum cost, and requests
nothing that was already answered. Responses are stored as the server sent them; `response_filter` parses them anew
whenever they are read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.errors import PoolError


@dataclass(frozen=True)
class CompletionChoice:
    """One text of a response."""

    text: str
    finish_reason: str
    """Why the text ended, in the server's words: stop, length, content_filter."""
    logprobs: Sequence[Mapping[str, object]] | None = None
    """Log-probabilities by position, as the server sent them; written to the file, not kept in memory."""


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
            journal._replay(_parse_event(path, number, line), plain)
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
        rows = [vars(choice) for choice in choices]
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
                self._append({"imported": source_key(source), "choices": [vars(choice) for choice in choices]})
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
        kept = [CompletionChoice(choice.text, choice.finish_reason) for choice in choices]
        self.choices.setdefault(key, []).extend(kept)
        self.failures.pop(key, None)

    def _replay(self, event: Mapping[str, Any], fingerprint: Mapping[str, object]) -> None:
        if "fingerprint" in event:
            _refuse_other_settings(self.path, event["fingerprint"], fingerprint)
        elif "sent" in event:
            self.requests = event["sent"]
            self.pending[event["sent"]] = event["source"], event["max_cost"]
        elif "ended" in event:
            self._end(event["ended"], event["cost"], [CompletionChoice(**choice) for choice in event["choices"]])
        elif "imported" in event:
            self._keep(event["imported"], [CompletionChoice(**choice) for choice in event["choices"]])
        elif "batch_file" in event:
            self._replay_batch(event)
        elif "batch_ended" in event:
            self.batches.pop(event["batch_ended"])
        else:
            self.failures[event["failed"]] = event["reason"]

    def _replay_batch(self, event: Mapping[str, Any]) -> None:
        open_batch = self.batches.setdefault(event["batch_file"], OpenBatch(dict(event["requests"])))
        open_batch.batch = event["batch"]

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
        event: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise PoolError(
            f"{path} line {number}: the journal of responses is damaged ({error}); restore it from a copy, or move "
            "it away to request everything again"
        ) from error
    return event


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
