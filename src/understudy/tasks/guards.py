"""What must hold of a task before any model is trained: nothing that is scored has been learned from.

Two sources are the same input if they are equal after NFKC, case folding and collapsing white space. Nothing
here reads files or repairs unasked: `drop_shared` and `drop_leaks` say what they take away.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from understudy.errors import DataError
from understudy.records import Example, TaskData

SHOWN = 80
"""Characters of a source in a message."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out input that stands in another split too."""

    held_out: str
    """`dev` or `test`."""
    id: str
    source: str
    split: str
    """Where it was found: `labeled`, `unlabeled`, `withheld`, or `dev` for an input of test."""
    found_id: str


def find_leaks(data: TaskData) -> list[Leak]:
    """Dev and test inputs that occur in what is learned from, and test inputs that occur in dev.

    Args:
        data: the task.

    Returns:
        One leak per held-out input and split it was found in: first those of test, in its order.
    """
    learned = {"labeled": data.labeled, "unlabeled": data.unlabeled, "withheld": data.withheld}
    known = {name: {normal(example.source): example.id for example in split} for name, split in learned.items()}
    dev = {"dev": {normal(example.source): example.id for example in data.dev}}
    return [
        Leak(held_out, example.id, example.source, split, ids[form])
        for held_out, examples, places in (("test", data.test, known | dev), ("dev", data.dev, known))
        for example in examples
        for form in [normal(example.source)]
        for split, ids in places.items()
        if form in ids
    ]


def refuse_leaks(data: TaskData) -> None:
    """Stop a run whose scores would be of inputs it learned from.

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
    shown = first.source if len(first.source) <= SHOWN else first.source[: SHOWN - 1] + "…"
    raise DataError(
        f"held-out inputs are learned from: {counts}; the first is {first.held_out} {first.id!r}, "
        f"in {first.split} as {first.found_id!r}: {shown!r}. Set task.leaks to drop_from_train to remove them "
        "from what is learned from, or to allow to go on with scores that are too good"
    )


def drop_leaks(data: TaskData) -> TaskData:
    """Remove test and dev inputs from what is learned from, and test inputs from dev; test stays whole.

    Args:
        data: the task.

    Returns:
        The task, for which `find_leaks` finds nothing.

    Raises:
        DataError: if a split that held examples would be left empty.
    """
    test = forms(data.test)
    held_out = test | forms(data.dev)
    clean = replace(
        data,
        labeled=without(data.labeled, held_out),
        unlabeled=without(data.unlabeled, held_out),
        withheld=without(data.withheld, held_out),
        dev=without(data.dev, test),
    )
    for name in ("labeled", "unlabeled", "dev"):
        if getattr(data, name) and not getattr(clean, name):
            raise DataError(
                f"every input of {name} is held out as well; drop_from_train leaves none: give other inputs"
            )
    return clean


def drop_shared(data: TaskData) -> tuple[TaskData, int]:
    """Remove unlabelled inputs that are labelled or occur twice, so that each input is learned from once.

    Args:
        data: the task.

    Returns:
        The task, and how many unlabelled inputs were dropped.
    """
    labeled = forms(data.labeled)
    unlabeled: dict[str, Example] = {}
    for example in data.unlabeled:
        form = normal(example.source)
        if form not in labeled:
            unlabeled.setdefault(form, example)
    kept = {example.id for example in unlabeled.values()}
    withheld = tuple(example for example in data.withheld if example.id in kept)
    clean = replace(data, unlabeled=tuple(unlabeled.values()), withheld=withheld)
    return clean, len(data.unlabeled) - len(unlabeled)


def describe(data: TaskData) -> dict[str, object]:
    """Count what a task holds.

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


def describe_split(examples: tuple[Example, ...]) -> dict[str, int | float]:
    """The counts of one split."""
    targets = [target for example in examples for target in example.targets]
    return {
        "inputs": len(examples),
        "targets": len(targets),
        "source_words": mean_words([example.source for example in examples]),
        "target_words": mean_words(targets),
    }


def mean_words(texts: list[str]) -> float:
    """Words between white space per text, to one decimal."""
    return round(sum(len(text.split()) for text in texts) / len(texts), 1) if texts else 0.0


def without(examples: Iterable[Example], excluded: set[str]) -> tuple[Example, ...]:
    """The examples whose source is none of these forms."""
    return tuple(example for example in examples if normal(example.source) not in excluded)


def forms(examples: Iterable[Example]) -> set[str]:
    """The sources as they are compared."""
    return {normal(example.source) for example in examples}


def normal(source: str) -> str:
    """A source as it is compared with others."""
    return " ".join(unicodedata.normalize("NFKC", source).casefold().split())
