"""The journal of an endpoint: every request before it is sent, every answer as soon as it is there.

One JSON line per event in a file that only grows. Whoever dies leaves at most a torn last line and requests
without an end; the next one counts these at the most they may have cost, and asks for nothing that was answered.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from understudy.errors import PoolError


@dataclass(frozen=True)
class Answer:
    """One text of an endpoint."""

    id: str
    """Of the input."""
    text: str
    """Empty where it was rejected."""
    rejected: str = ""
    """Why it is no target; empty: it is one."""
    logprobs: list[Mapping[str, Any]] | None = None
    """Position by position, as the server gave them."""


@dataclass
class Journal:
    """What was asked and answered so far."""

    path: Path
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """Input -> its answers, rejected ones among them."""
    failures: dict[str, str] = field(default_factory=dict)
    """Input -> why its last request came to nothing."""
    spent: float = 0.0
    """Of answered requests at what they cost; of others that may have been billed at the most they can have cost."""
    open: dict[int, float] = field(default_factory=dict)
    """Requests under way -> the most they can cost."""
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
        lines = path.read_text("utf-8").split("\n") if path.is_file() else []
        torn = lines.pop() if lines else ""
        journal = cls(path)
        if torn:
            os.truncate(path, path.stat().st_size - len(torn.encode()))
        for number, line in enumerate(lines, start=1):
            journal._read(_parsed(path, number, line), path, plain)
        if not lines:
            journal._write({"determines": plain})
        journal.spent += sum(journal.open.values())
        journal.open.clear()
        return journal

    @property
    def committed(self) -> float:
        """What is spent, and what is under way at its most."""
        return self.spent + sum(self.open.values())

    def send(self, input_id: str, most: float) -> int:
        """Notes a request before it is sent; its number."""
        self.requests += 1
        self.open[self.requests] = most
        self._write({"sent": self.requests, "id": input_id, "most": most})
        return self.requests

    def end(self, request: int, *, cost: float | None, answers: list[Answer] = [], failure: str = "") -> None:  # noqa: B006 - never changed
        """Notes how a request ended. Cost None: nobody knows whether it was billed, so it counts at its most."""
        event = {"ended": request, "cost": cost, "answers": [vars(answer) for answer in answers], "failure": failure}
        self._write(event | {"id": answers[0].id} if answers else event)
        self._end(request, cost, answers)

    def give_up(self, input_id: str, why: str) -> None:
        """Notes that an input is left without an answer, for now."""
        self.failures[input_id] = why
        self._write({"gave_up": input_id, "why": why})

    def wanted(self, input_id: str, per_input: int) -> int:
        """How many texts an input still lacks."""
        return per_input - len(self.answers.get(input_id, ()))

    def _end(self, request: int, cost: float | None, answers: list[Answer]) -> None:
        most = self.open.pop(request)
        self.spent += most if cost is None else cost
        for answer in answers:
            self.answers.setdefault(answer.id, []).append(answer)
            self.failures.pop(answer.id, None)

    def _read(self, event: Mapping[str, Any], path: Path, determines: Mapping[str, object]) -> None:
        if "determines" in event:
            _refuse_others(path, cast(Mapping[str, object], event["determines"]), determines)
        elif "sent" in event:
            self.requests = event["sent"]
            self.open[event["sent"]] = event["most"]
        elif "ended" in event:
            self._end(event["ended"], event["cost"], [Answer(**answer) for answer in event["answers"]])
        else:
            self.failures[event["gave_up"]] = event["why"]

    def _write(self, event: Mapping[str, object]) -> None:
        # Closed, not synced: the system keeps what a killed process wrote, and a sync would take milliseconds each.
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise PoolError(
            f"{path} line {number}: a journal of answers is damaged here ({error.msg}); restore it from a copy, or "
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
