"""Leak checks of a task before any model is trained: no input of dev or test is trained on.

Two sources are the same input if they are equal after NFKC, case folding and collapsing white space. This module reads
no files, and removes nothing unless `drop_shared` or `drop_leaks` is called.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from understudy.errors import DataError
from understudy.records import Example, TaskData

SHOWN_SOURCE = 80
"""Characters of a source in a message."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out input that is in another split too."""

    held_out: str
    """`dev` or `test`."""
    id: str
    source: str
    split: str
    """The other split: `labeled`, `unlabeled`, `withheld`, or `dev` for an input of test."""
    found_id: str


def find_leaks(data: TaskData) -> list[Leak]:
    """Dev and test inputs that are also training inputs, and test inputs that are also in dev.

    Args:
        data: the task.

    Returns:
        One leak per held-out input and split in which it was found, those of test first, in its order.
    """
    training = {"labeled": data.labeled, "unlabeled": data.unlabeled, "withheld": data.withheld}
    known = {name: {normalized(example.source): example.id for example in split} for name, split in training.items()}
    dev = {"dev": {normalized(example.source): example.id for example in data.dev}}
    return [
        Leak(held_out, example.id, example.source, split, ids[form])
        for held_out, examples, places in (("test", data.test, known | dev), ("dev", data.dev, known))
        for example in examples
        for form in [normalized(example.source)]
        for split, ids in places.items()
        if form in ids
    ]


def refuse_leaks(data: TaskData) -> None:
    """Refuses a task whose scores would be of inputs that were trained on.

    Args:
        data: the task.

    Raises:
        DataError: if `find_leaks` finds any.
    """
    leaks = find_leaks(data)
    if not leaks:
        return
    pairs = Counter((leak.held_out, leak.split) for leak in leaks)
    counts = ", ".join(f"{count} of {held_out} in {split}" for (held_out, split), count in pairs.items())
    first = leaks[0]
    shown = first.source if len(first.source) <= SHOWN_SOURCE else first.source[: SHOWN_SOURCE - 1] + "…"
    raise DataError(
        f"held-out inputs are also training inputs: {counts}; the first is {first.held_out} {first.id!r}, "
        f"in {first.split} as {first.found_id!r}: {shown!r}. Set task.leaks to drop_from_train to remove "
        "them from the training data, or to allow to continue with scores that are too good"
    )


def drop_leaks(data: TaskData) -> TaskData:
    """Removes test and dev inputs from the training data, and test inputs from dev; test is unchanged.

    Args:
        data: the task.

    Returns:
        The task, for which `find_leaks` finds nothing.

    Raises:
        DataError: if a split that held examples would be left empty.
    """
    test = normalized_sources(data.test)
    held_out = test | normalized_sources(data.dev)
    clean = replace(
        data,
        labeled=excluding(data.labeled, held_out),
        unlabeled=excluding(data.unlabeled, held_out),
        withheld=excluding(data.withheld, held_out),
        dev=excluding(data.dev, test),
    )
    for name in ("labeled", "unlabeled", "dev"):
        if getattr(data, name) and not getattr(clean, name):
            raise DataError(
                f"every input of {name} is held out too, so drop_from_train would leave none; provide other inputs"
            )
    return clean


def drop_shared(data: TaskData) -> tuple[TaskData, int]:
    """Removes unlabeled inputs that are labeled too or occur twice, so that each input is trained on once.

    Args:
        data: the task.

    Returns:
        The task, and how many unlabeled inputs were dropped.
    """
    labeled = normalized_sources(data.labeled)
    unlabeled: dict[str, Example] = {}
    for example in data.unlabeled:
        form = normalized(example.source)
        if form not in labeled:
            unlabeled.setdefault(form, example)
    kept = {example.id for example in unlabeled.values()}
    withheld = tuple(example for example in data.withheld if example.id in kept)
    clean = replace(data, unlabeled=tuple(unlabeled.values()), withheld=withheld)
    return clean, len(data.unlabeled) - len(unlabeled)


def describe(data: TaskData) -> dict[str, dict[str, float]]:
    """Counts the inputs and targets of a task.

    Args:
        data: the task.

    Returns:
        Split -> `inputs`, `targets`, and the mean number of words of a source and of a target (0 where none is).
    """
    splits = {
        "labeled": data.labeled,
        "unlabeled": data.unlabeled,
        "withheld": data.withheld,
        "dev": data.dev,
        "test": data.test,
    }
    return {name: describe_split(examples) for name, examples in splits.items()}


def describe_split(examples: tuple[Example, ...]) -> dict[str, float]:
    """The counts of one split."""
    targets = [target for example in examples for target in example.targets]
    return {
        "inputs": len(examples),
        "targets": len(targets),
        "source_words": mean_words([example.source for example in examples]),
        "target_words": mean_words(targets),
    }


def mean_words(texts: list[str]) -> float:
    """Mean number of words (separated by white space) per text, rounded to one decimal."""
    return round(sum(len(text.split()) for text in texts) / len(texts), 1) if texts else 0.0


def excluding(examples: Iterable[Example], excluded: set[str]) -> tuple[Example, ...]:
    """The examples whose normalized source is not among `excluded`."""
    return tuple(example for example in examples if normalized(example.source) not in excluded)


def normalized_sources(examples: Iterable[Example]) -> set[str]:
    """The normalized sources."""
    return {normalized(example.source) for example in examples}


def normalized(source: str) -> str:
    """A source normalized for comparison: NFKC, case folding, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", source).casefold().split())
