"""The user's files become the splits of a task.

Here stands what a record must hold to be an example, how equal sources are merged, and how labels are hidden
to make unlabelled inputs. How bytes become records stands in `readers.py`; leaks are found by `guards.py`.
"""

import difflib
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config.task import Fields
from understudy.errors import DataError
from understudy.records import Example, TaskData
from understudy.tasks.file_formats import Record, read_records
from understudy.tasks.guards import drop_shared

DEFAULT_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class Split:
    """One split as read: every source once."""

    examples: tuple[Example, ...] = ()
    merged: int = 0
    """Records whose source had been seen in the split, and whose targets joined it."""
    repeated: int = 0
    """Targets that their source already had."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A task's data and what was done to it on the way in."""

    data: TaskData
    facts: dict[str, int]
    """`merged` and `repeated` over all splits, and `shared`: unlabelled inputs dropped as labelled already."""


def load_files(
    *,
    test: Path | None = None,
    labeled: Path | None = None,
    unlabeled: Path | None = None,
    dev: Path | None = None,
    fields: Fields = DEFAULT_FIELDS,
    unreferenced: Collection[str] = (),
    labeled_inputs: int | None = None,
    unlabeled_inputs: int | None = None,
    seed: int = 0,
) -> Loaded:
    """Read a task from one file per split.

    Args:
        test: records with targets; none where it is held out of the unlabelled.
        labeled: records with targets.
        unlabeled: records whose targets, if any, are not read.
        dev: records with targets.
        fields: under which names the records hold their parts.
        unreferenced: splits whose targets are not read either.
        labeled_inputs: how many of the labelled sources keep their labels, drawn by `seed`; the labels of the
            others are withheld and their sources become unlabelled inputs. None keeps all labels.
        unlabeled_inputs: how many of the unlabelled inputs there are to be, those of withheld labels among them, drawn
            by `seed`; the withheld labels stay whole. None keeps all.
        seed: draws both; a larger count adds to the inputs of a smaller.

    Returns:
        The splits, with counts of what was merged and dropped.

    Raises:
        DataError: if a file, a record, an id or one of the two counts cannot be used.
    """
    if labeled is None and unlabeled is None:
        raise DataError("a task needs inputs to learn from, got neither labeled nor unlabeled; name one of the files")
    paths = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    splits = {
        name: read_split(
            read_records(path),
            split=name,
            fields=fields,
            labelled=name not in {"unlabeled", *unreferenced},
            origin=str(path),
        )
        for name, path in paths.items()
        if path is not None
    }
    return assemble(splits, labeled_inputs=labeled_inputs, unlabeled_inputs=unlabeled_inputs, seed=seed)


def read_examples(path: Path, *, split: str, labelled: bool, fields: Fields = DEFAULT_FIELDS) -> tuple[Example, ...]:
    """Read one file as examples, records of equal source merged.

    Args:
        path: .jsonl, .jsonl.gz, .csv, .tsv or .parquet.
        split: goes into the ids of records that have none.
        labelled: whether each record must have a target; otherwise targets are not read.
        fields: under which names the records hold their parts.

    Returns:
        Examples in the order of the file; the first id of equal sources is kept, exact copies of a target are not.

    Raises:
        DataError: if the file or one of its records cannot be used.
    """
    return read_split(read_records(path), split=split, fields=fields, labelled=labelled, origin=str(path)).examples


def read_split(records: Iterable[Record], *, split: str, fields: Fields, labelled: bool, origin: str) -> Split:
    """Judge records one by one and merge those of equal source."""
    ids: dict[str, str] = {}
    targets: dict[str, dict[str, None]] = {}
    owners: dict[str, str] = {}
    count = read = 0
    for record in records:
        count += 1
        source = text_of(record, fields.source)
        name = id_of(record, fields.id, split)
        if owners.setdefault(name, source) != source:
            raise DataError(
                f"{record.where}: id {name!r} was used for another source before; "
                "make ids unique, or set task.fields.id to null and ids are made"
            )
        ids.setdefault(source, name)
        new = targets_of(record, fields) if labelled else ()
        read += len(new)
        targets.setdefault(source, {}).update(dict.fromkeys(new))
    if not count:
        raise DataError(f"{origin}: holds no records; {split} needs at least one")
    examples = tuple(Example(ids[source], source, tuple(texts)) for source, texts in targets.items())
    kept = sum(len(example.targets) for example in examples)
    return Split(examples, merged=count - len(examples), repeated=read - kept)


def id_of(record: Record, field: str | None, split: str) -> str:
    """The record's own id, or one made from split and line."""
    value = None if field is None else record.values.get(field)
    if value is None:
        return f"{split}-{record.number}"
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{record.where}: {field!r} is {value!r}; an id is a text or a whole number")
    return str(value)


def targets_of(record: Record, fields: Fields) -> tuple[str, ...]:
    """The record's targets, one at least."""
    given = [name for name in (fields.target, fields.targets) if record.values.get(name) is not None]
    if len(given) > 1:
        raise DataError(f"{record.where}: has both {given[0]!r} and {given[1]!r}; keep one of them")
    if not given:
        if null := record.values.keys() & {fields.target, fields.targets}:
            raise DataError(f"{record.where}: {min(null)!r} is null; give a target or move it to unlabeled")
        raise missing(record, fields.target, "task.fields.target")
    value = record.values[given[0]]
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise DataError(f"{record.where}: {given[0]!r} is an empty list; give a target or move it to unlabeled")
    return tuple(checked_text(record, given[0], text) for text in texts)


def text_of(record: Record, field: str) -> str:
    """The record's source."""
    if field not in record.values:
        raise missing(record, field, "task.fields.source")
    return checked_text(record, field, record.values[field])


def checked_text(record: Record, field: str, value: object) -> str:
    """The value itself, if it is a text with something in it."""
    if not isinstance(value, str):
        raise DataError(f"{record.where}: {field!r} is {value!r:.60}, a {type(value).__name__}; it must be a text")
    if not value.strip():
        raise DataError(f"{record.where}: {field!r} is empty; fill it in or remove the record")
    if not value.isascii() and (halves := [character for character in value if "\ud800" <= character <= "\udfff"]):
        raise DataError(
            f"{record.where}: {field!r} holds {halves[0]!r}, half of a character (a text cut within an emoji?), "
            "which no file can hold; mend the text or remove the record"
        )
    return value


def missing(record: Record, field: str, setting: str) -> DataError:
    """The sentence for a field that is not there: what is, and which of it may be meant."""
    near = difflib.get_close_matches(field, record.values, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    found = ", ".join(record.values) or "nothing"
    return DataError(f"{record.where}: no {field!r}, found: {found}; {hint}{setting} names the field")


def assemble(
    splits: dict[str, Split], *, labeled_inputs: int | None, unlabeled_inputs: int | None, seed: int
) -> Loaded:
    """Splits as read become a task: labels withheld and inputs drawn as asked, shared inputs dropped, ids checked."""
    labeled, unlabeled, dev, test = (
        splits.get(name, Split()).examples for name in ("labeled", "unlabeled", "dev", "test")
    )
    withheld: tuple[Example, ...] = ()
    if labeled_inputs is not None:
        labeled, withheld = drawn(labeled, labeled_inputs, "labeled", seed)
        unlabeled = tuple(Example(example.id, example.source) for example in withheld) + unlabeled
    refuse_shared_ids({"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test})
    data, shared = drop_shared(TaskData(labeled, unlabeled, dev, test, withheld))
    if unlabeled_inputs is not None:
        data = replace(data, unlabeled=drawn(data.unlabeled, unlabeled_inputs, "unlabeled", seed)[0])
    merged = sum(split.merged for split in splits.values())
    repeated = sum(split.repeated for split in splits.values())
    return Loaded(data, {"merged": merged, "repeated": repeated, "shared": shared})


def hold_out(data: TaskData, wanted: Mapping[str, int], *, seed: int) -> TaskData:
    """The task with some unlabelled inputs as dev or test instead.

    Args:
        data: the task.
        wanted: split -> how many inputs become it.
        seed: draws them.

    Raises:
        DataError: if nothing would be left to learn from.
    """
    for split, count in wanted.items():
        if count >= len(data.unlabeled):
            raise DataError(
                f"task.held_out.{split} asks for {count} unlabelled inputs, and {len(data.unlabeled)} are there: "
                "none would be left to learn from; ask for fewer, or bring more inputs"
            )
        chosen, rest = drawn(data.unlabeled, count, "unlabeled", seed)
        taken = {example.id for example in chosen}
        withheld = tuple(example for example in data.withheld if example.id not in taken)
        data = replace(data, **{split: chosen}, unlabeled=rest, withheld=withheld)
    return data


def drawn(
    examples: Sequence[Example], keep: int, split: str, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """So many of the examples, and the others; both parts stay in the order of the file."""
    if not 1 <= keep <= len(examples):
        raise DataError(
            f"task.{split}_inputs asks for {keep} {split} inputs, found {len(examples)} different sources; "
            f"ask for 1 to {len(examples)}"
        )
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    chosen = set(order[:keep])
    return (
        tuple(example for index, example in enumerate(examples) if index in chosen),
        tuple(example for index, example in enumerate(examples) if index not in chosen),
    )


def refuse_shared_ids(splits: dict[str, tuple[Example, ...]]) -> None:
    """Pseudo-targets find their input by its id: one id, one source, over all splits."""
    seen: dict[str, tuple[str, str]] = {}
    for name, examples in splits.items():
        for example in examples:
            split, source = seen.setdefault(example.id, (name, example.source))
            if source != example.source:
                raise DataError(
                    f"id {example.id!r} names one source in {split} and another in {name}; "
                    "make ids unique over the files, or set task.fields.id to null and ids are made"
                )
