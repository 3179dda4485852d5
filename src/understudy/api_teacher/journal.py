"""The journal of an endpoint: every request before it is sent, every answer as soon as it is there.

One JSON line per event in a file that only grows. Whoever dies leaves at most a torn last line and requests
without an end; the next one counts these at the most they may have cost, and asks for nothing that was answered.
Answers stand as the server gave them: which of them are targets is parse_response anew whenever they are read.
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
class Choice:
    """One text of an endpoint."""

    text: str
    finish: str
    """Why it ended, in the server's words: stop, length, content_filter."""
    logprobs: Sequence[Mapping[str, object]] | None = None
    """Position by position, as the server gave them; written down, and not kept in memory."""


@dataclass
class Journal:
    """What was asked and answered so far. A source is known by its content: ids and the order of a file may change."""

    path: Path
    choices: dict[str, list[Choice]] = field(default_factory=dict)
    """Source -> its answers."""
    failures: dict[str, str] = field(default_factory=dict)
    """Source -> why its last request came to nothing."""
    spent: float = 0.0
    """Of answered requests at what they cost; of others that may have been billed at the most they can have cost."""
    open: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Requests under way -> their source, and the most they can cost."""
    requests: int = 0

    @classmethod
    def at(cls, path: Path, *, determines: Mapping[str, object]) -> "Journal":
        """The journal of a file, new or taken up.

        Args:
            path: of the file.
            determines: what decides an answer; a journal of other settings is refused.

        Raises:
            PoolError: if the journal is another's, or a line that is not its last is damaged.
        """
        plain = json.loads(json.dumps(determines))
        *lines, torn = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        journal = cls(path)
        if torn:
            os.truncate(path, path.stat().st_size - len(torn))
        for number, line in enumerate(lines, start=1):
            journal._read(_parsed(path, number, line), plain)
        if not lines:
            journal._write({"determines": plain})
        journal.spent += sum(most for _, most in journal.open.values())
        journal.open.clear()
        return journal

    @property
    def committed(self) -> float:
        """What is spent, and what is under way at its most."""
        return self.spent + sum(most for _, most in self.open.values())

    def send(self, source: str, most: float) -> int:
        """Notes a request before it is sent; its number."""
        self.requests += 1
        event = {"sent": self.requests, "source": source_key(source), "most": most}
        self._write(event)
        self.open[self.requests] = source_key(source), most
        return self.requests

    def end(self, request: int, *, cost: float | None, choices: Sequence[Choice] = (), failure: str = "") -> None:
        """Notes how a request ended. Cost None: nobody knows whether it was billed, so it counts at its most."""
        rows = [vars(choice) for choice in choices]
        self._write({"ended": request, "cost": cost, "choices": rows, "failure": failure})
        self._end(request, cost, choices)

    def take_over(self, answers: Iterable[tuple[str, Choice]]) -> None:
        """Notes what was answered elsewhere, at no cost, for sources that have no answer here."""
        of_source: dict[str, list[Choice]] = {}
        for source, choice in answers:
            of_source.setdefault(source, []).append(choice)
        for source, choices in of_source.items():
            if not self.answers(source):
                self._write({"taken_over": source_key(source), "choices": [vars(choice) for choice in choices]})
                self._keep(source_key(source), choices)

    def give_up(self, source: str, why: str) -> None:
        """Notes that a source is left without an answer, for now."""
        self._write({"gave_up": source_key(source), "why": why})
        self.failures[source_key(source)] = why

    def take_up(self, source: str) -> None:
        """Forgets why a source had no answer: it is asked about again."""
        self.failures.pop(source_key(source), None)

    def answers(self, source: str) -> list[Choice]:
        """What a source was answered."""
        return self.choices.get(source_key(source), [])

    def failure(self, source: str) -> str:
        """Why a source has no answer; empty where it has one, or was not asked about."""
        return self.failures.get(source_key(source), "")

    def _end(self, request: int, cost: float | None, choices: Sequence[Choice]) -> None:
        source, most = self.open.pop(request)
        self.spent += most if cost is None else cost
        if choices:
            self._keep(source, choices)

    def _keep(self, source: str, choices: Sequence[Choice]) -> None:
        kept = [Choice(choice.text, choice.finish) for choice in choices]
        self.choices.setdefault(source, []).extend(kept)
        self.failures.pop(source, None)

    def _read(self, event: Mapping[str, Any], determines: Mapping[str, object]) -> None:
        if "determines" in event:
            _refuse_others(self.path, event["determines"], determines)
        elif "sent" in event:
            self.requests = event["sent"]
            self.open[event["sent"]] = event["source"], event["most"]
        elif "ended" in event:
            self._end(event["ended"], event["cost"], [Choice(**choice) for choice in event["choices"]])
        elif "taken_over" in event:
            self._keep(event["taken_over"], [Choice(**choice) for choice in event["choices"]])
        else:
            self.failures[event["gave_up"]] = event["why"]

    def _write(self, event: Mapping[str, object]) -> None:
        # Closed, not synced: the system keeps what a killed process wrote, and a sync would take milliseconds each.
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        except OSError:  # a full disk: half a line must not stand before the next one
            os.truncate(self.path, before)
            raise


def answered(path: Path) -> Iterator[tuple[str, Choice]]:
    """Every answer of a journal in the order in which they came, with its log-probabilities; by the source's key.

    One at a time: with log-probabilities, all of them may be larger than the memory.
    """
    open_requests: dict[int, str] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if "sent" in event:
                open_requests[event["sent"]] = event["source"]
            elif "ended" in event:
                source = open_requests.pop(event["ended"])
                yield from ((source, Choice(**choice)) for choice in event["choices"])
            elif "taken_over" in event:
                yield from ((event["taken_over"], Choice(**choice)) for choice in event["choices"])


def source_key(source: str) -> str:
    """What a source is known by in a journal."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise PoolError(
            f"{path} line {number}: a journal of answers is damaged here ({error}); restore it from a copy, or "
            "move it away to ask everything again"
        ) from error
    return event


def _refuse_others(path: Path, found: Mapping[str, object], asked: Mapping[str, object]) -> None:
    other = [
        f"{key} was {found.get(key)!r} and is {value!r} now" for key, value in asked.items() if found.get(key) != value
    ]
    if other:
        raise PoolError(
            f"{path} holds answers to other questions: {'; '.join(other)}. Restore the settings, or give another --out"
        )
