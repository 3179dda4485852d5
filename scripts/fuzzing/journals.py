"""Journals of an API teacher: what a killed process leaves is recovered, what a disk damages is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain

from understudy.api_teacher.journal import CompletionChoice, Journal, iter_responses

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SETTINGS = {"model": "m", "prompt": "p"}
Draw = Callable[[st.SearchStrategy[Any]], Any]
Events = list[dict[str, Any]]


def written(folder: Path, answers: list[tuple[str, list[str]]]) -> tuple[Path, float]:
    """A journal in which each source was requested once; and what it cost."""
    journal = Journal.open(folder / "journal.jsonl", fingerprint=SETTINGS)
    for source, texts in answers:
        number = journal.record_request(source, 2.0)
        choices = [CompletionChoice(text, "stop") for text in texts]
        journal.record_end(number, cost=0.5, choices=choices, failure="" if texts else "timeout")
    return journal.path, journal.spent


def opened(path: Path, sources: list[str]) -> tuple[dict[str, list[str]], float]:
    """The texts of each source, and the amount spent, read from a file."""
    journal = Journal.open(path, fingerprint=SETTINGS)
    list(iter_responses(path))
    return {source: [choice.text for choice in journal.responses(source)] for source in sources}, journal.spent


def line_fault(change: Callable[[dict[str, Any]], object]) -> Callable[[Events, int], list[str]]:
    """A fault in one event, which is written as JSON again."""

    def apply(events: Events, index: int) -> list[str]:
        return [json.dumps(change(event) if number == index else event) for number, event in enumerate(events)]

    return apply


FAULTS: dict[str, Callable[[Events, int], list[str]]] = {
    "a list": line_fault(lambda event: [event]),
    "a number": line_fault(lambda event: 3),
    "an empty object": line_fault(lambda event: {}),
    "an unknown event": line_fault(lambda event: {"zz": 1}),
    "text for a number": line_fault(lambda event: dict.fromkeys(event, "x")),
    "null values": line_fault(dict.fromkeys),
    "lists for values": line_fault(lambda event: {key: [1] for key in event}),
    "half a line": lambda events, index: [
        json.dumps(event)[: 5 if number == index else None] for number, event in enumerate(events)
    ],
    "a blank line": lambda events, index: [
        "" if number == index else json.dumps(event) for number, event in enumerate(events)
    ],
    "deep brackets": lambda events, index: [
        "[" * 100_000 if number == index else json.dumps(event) for number, event in enumerate(events)
    ],
    "a number of 5,000 digits": lambda events, index: [
        f'{{"ended": {"9" * 5000}}}' if number == index else json.dumps(event) for number, event in enumerate(events)
    ],
    "other settings": lambda events, index: [
        json.dumps({"fingerprint": {"model": "other", "prompt": "p"}} if "fingerprint" in event else event)
        for event in events
    ],
    "the settings are missing": lambda events, index: [json.dumps(event) for event in events[1:]],
    "a request is missing": lambda events, index: [json.dumps(event) for event in [events[0], *events[2:]]],
    "a cost that is no number": lambda events, index: [
        json.dumps({**event, "cost": float("nan")} if "cost" in event else event) for event in events
    ],
    "an end twice": lambda events, index: [
        json.dumps(event) for event in [*events, next(event for event in events if "ended" in event)]
    ],
}


@st.composite
def journals(draw: Draw) -> Case:
    """A journal file, possibly with a torn last line, which every killed process may leave."""
    sources = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    answers = [(source, draw(st.lists(TEXTS, max_size=2))) for source in sources]
    fault = draw(st.sampled_from([VALID, VALID, *FAULTS]))
    which, torn = draw(st.integers(0, 2 * len(answers))), draw(st.sampled_from([b"", b'{"sent": 7, "sour', b"\xff"]))

    def read(folder: Path) -> object:
        path, _ = written(folder, answers)
        if fault != VALID:
            events = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
            lines = FAULTS[fault](events, which)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            path.write_bytes(path.read_bytes() + torn)
        return opened(path, sources)

    return Case(fault, read, (dict(answers), 0.5 * len(answers)), (answers, which, torn))


DOMAIN = Domain("journals", journals())
