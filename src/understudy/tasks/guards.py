"""Leak checks of a task before any model is trained: no input of dev or test is trained on.

Two sources are the same input if they are equal after NFKC, case folding and collapsing white space. This module reads
no files, and removes nothing unless `drop_shared` or `drop_leaks` is called.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from understudy.columns import Examples, places
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
    held_out = normalized_sources(data.test) | normalized_sources(data.dev)
    known = {name: ids_of(held_out, split) for name, split in training.items()}
    dev = {"dev": ids_of(held_out, data.dev)}
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
    seen = {text_hash(form) for form in normalized_sources(data.labeled)}
    unlabeled, withheld = Examples.of(data.unlabeled), Examples.of(data.withheld)
    dropped: list[int] = []
    for row, source in enumerate(unlabeled.sources()):
        form = text_hash(normalized(source))
        if form in seen:
            dropped.append(row)
        seen.add(form)
    clean = unlabeled.without(dropped)
    withheld = withheld.take(np.flatnonzero(places(withheld.ids, clean.ids) >= 0))
    return replace(data, unlabeled=clean, withheld=withheld), len(dropped)


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


def describe_split(examples: Sequence[Example]) -> dict[str, float]:
    """The counts of one split."""
    own = Examples.of(examples)
    _, source_words = counted_words(own.sources())
    targets, target_words = counted_words(own.targets())
    return {"inputs": len(own), "targets": targets, "source_words": source_words, "target_words": target_words}


def counted_words(texts: Iterable[str]) -> tuple[int, float]:
    """Number of texts, and their mean number of words (separated by white space), rounded to one decimal."""
    count = words = 0
    for text in texts:
        count, words = count + 1, words + len(text.split())
    return count, round(words / count, 1) if count else 0.0


def excluding(examples: Sequence[Example], excluded: set[str]) -> Examples:
    """The examples whose normalized source is not among `excluded`."""
    own = Examples.of(examples)
    return own.without([row for row, source in enumerate(own.sources()) if normalized(source) in excluded])


def ids_of(forms: set[str], examples: Sequence[Example]) -> dict[str, str]:
    """The ids of the examples whose normalized source is among `forms`, by that form."""
    return {form: one.id for one in examples if (form := normalized(one.source)) in forms}


def normalized_sources(examples: Sequence[Example]) -> set[str]:
    """The normalized sources."""
    return {normalized(source) for source in Examples.of(examples).sources()}


def text_hash(text: str) -> bytes:
    """Sixteen bytes that stand for a text where many are compared: they need less memory than the text."""
    return blake2b(text.encode(), digest_size=16).digest()


def normalized(source: str) -> str:
    """A source normalized for comparison: NFKC, case folding, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", source).casefold().split())
