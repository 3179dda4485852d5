"""Loads the splits of a task from the user's files.

This module merges records of equal source, and withholds labels to make unlabeled inputs. `task_records.py` reads the
files; `record_checks.py` decides which records are valid examples; `guards.py` finds leaks.
"""

import random
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from understudy.columns import EXAMPLES_SCHEMA, ArrowColumn, Examples, Rows, TextColumn, codes_of, grouped, places
from understudy.config.task import Fields
from understudy.errors import DataError
from understudy.progress import reported
from understudy.records import Example, TaskData
from understudy.tasks.guards import drop_shared, text_hash
from understudy.tasks.record import Log, Record, no_log
from understudy.tasks.record_checks import id_of, targets_of, text_of
from understudy.tasks.task_records import DEFAULT_FIELDS, RecordSettings, task_records

DEFAULT_SETTINGS = RecordSettings()


@dataclass(frozen=True, slots=True)
class LoadedSplit:
    """One split as read; every source occurs once."""

    examples: Sequence[Example] = ()
    merged: int = 0
    """Number of records that were merged into an earlier record of the same source."""
    repeated: int = 0
    """Number of targets that their source already had."""


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task's data, and counts of what was merged or dropped."""

    data: TaskData
    facts: dict[str, int]
    """`merged` and `repeated` over all splits, and `shared`: unlabeled inputs dropped because they are labeled too."""
    unlabeled_order: ArrowColumn
    """The column of the ids of the unlabeled inputs in the order in which they were drawn: asking for more appends."""


def load_files(
    *,
    test: Path | None = None,
    labeled: Path | None = None,
    unlabeled: Path | None = None,
    dev: Path | None = None,
    settings: RecordSettings = DEFAULT_SETTINGS,
    unreferenced: Collection[str] = (),
    labeled_inputs: int | None = None,
    unlabeled_inputs: int | None = None,
    seed: int = 0,
) -> LoadedTask:
    """Loads a task from one file per split.

    Args:
        test: records with targets; None if it is held out of the unlabeled inputs.
        labeled: records with targets.
        unlabeled: records; their targets, if any, are not read.
        dev: records with targets.
        settings: names of the records' fields, and the format of each file.
        unreferenced: other splits whose targets are not read.
        labeled_inputs: number of labeled sources that keep their labels, drawn by `seed`; the labels of the others
            are withheld and their sources become unlabeled inputs. None keeps all labels.
        unlabeled_inputs: number of unlabeled inputs to keep, those of withheld labels among them, drawn by `seed`; all
            withheld labels are kept. None keeps all inputs.
        seed: draws both; a larger count contains the inputs of a smaller one.

    Returns:
        The splits, with counts of what was merged and dropped.

    Raises:
        DataError: if a file, a record, an id or one of the two counts cannot be used.
    """
    if labeled is None and unlabeled is None:
        raise DataError("a task needs training inputs, got neither a labeled nor an unlabeled file; name one of them")
    paths = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    labels = paths.keys() - {"unlabeled", *unreferenced}
    left_out: Counter[str] = Counter()
    splits = {
        name: read_split(
            reported(
                settings.progress,
                f"read {name}",
                task_records(path, settings, split=name, labeled=name in labels, left_out=left_out),
                "record",
            ),
            split=name,
            fields=settings.fields,
            labeled=name in labels,
            origin=str(path),
        )
        for name, path in paths.items()
        if path is not None
    }
    loaded = assemble(splits, labeled_inputs=labeled_inputs, unlabeled_inputs=unlabeled_inputs, seed=seed)
    return replace(loaded, facts=loaded.facts | {"unanswered": left_out.total()}) if left_out else loaded


def read_examples(
    path: Path, *, split: str, labeled: bool, fields: Fields = DEFAULT_FIELDS, log: Log = no_log
) -> Sequence[Example]:
    """Reads one file as examples; records of equal source are merged.

    Args:
        path: .jsonl, .jsonl.gz, .json, .csv, .tsv or .parquet, in any format of `FORMATS`.
        split: part of the ids of records that have none.
        labeled: whether each record must have a target; if not, targets are not read.
        fields: names of the records' fields.
        log: is called with what was recognised in the file, and what was left out.

    Returns:
        Examples in the order of the file; the first id of equal sources is kept, exact copies of a target are not.

    Raises:
        DataError: if the file or one of its records cannot be used.
    """
    records = task_records(path, RecordSettings(fields, log=log), split="labeled", labeled=labeled)
    return read_split(records, split=split, fields=fields, labeled=labeled, origin=str(path)).examples


def read_split(records: Iterable[Record], *, split: str, fields: Fields, labeled: bool, origin: str) -> LoadedSplit:
    """Validates records one by one and merges those of equal source."""
    rows: dict[bytes, int] = {}
    owners: dict[str, int] = {}
    ids, sources, targets, targets_of_row = TextColumn(), TextColumn(), TextColumn(), array("q")
    count = 0
    for record in records:
        count += 1
        source = text_of(record, fields.source)
        name = id_of(record, fields.id, split)
        row = rows.setdefault(text_hash(source), len(rows))
        if owners.setdefault(name, row) != row:
            raise DataError(
                f"{record.where}: id {name!r} was used for another source before; "
                "make ids unique, or set task.fields.id to null to generate them"
            )
        if row == len(ids):
            ids.append(name)
            sources.append(source)
        for text in targets_of(record, fields) if labeled else ():
            targets.append(text)
            targets_of_row.append(row)
    if not count:
        raise DataError(f"{origin}: contains no records; {split} needs at least one")
    lists = grouped(np.array(targets_of_row, np.int64), targets.array(), len(rows))
    examples = Examples(pa.table([ids.array().cast(pa.string()), sources.array(), lists], EXAMPLES_SCHEMA))
    kept = len(lists.values)
    return LoadedSplit(examples, merged=count - len(examples), repeated=len(targets) - kept)


def assemble(
    splits: dict[str, LoadedSplit], *, labeled_inputs: int | None, unlabeled_inputs: int | None, seed: int
) -> LoadedTask:
    """Makes a task of splits as read: withholds labels, draws inputs, drops shared inputs, checks ids."""
    labeled, unlabeled, dev, test = (
        Examples.of(splits.get(name, LoadedSplit()).examples) for name in ("labeled", "unlabeled", "dev", "test")
    )
    withheld = Examples.of(())
    if labeled_inputs is not None:
        labeled, withheld = draw_examples(labeled, labeled_inputs, "labeled", seed)
        unlabeled = Examples.joined(withheld.without_targets(), unlabeled)
    refuse_shared_ids({"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test})
    data, shared = drop_shared(TaskData(labeled, unlabeled, dev, test, withheld))
    order = Examples.of(data.unlabeled).ids
    if unlabeled_inputs is not None:
        chosen, _ = draw_examples(data.unlabeled, unlabeled_inputs, "unlabeled", seed)
        order = order.take(pa.array(drawn_rows(len(order), seed)[:unlabeled_inputs]))
        data = replace(data, unlabeled=chosen)
    merged = sum(split.merged for split in splits.values())
    repeated = sum(split.repeated for split in splits.values())
    return LoadedTask(data, {"merged": merged, "repeated": repeated, "shared": shared}, order)


def hold_out(data: TaskData, wanted: Mapping[str, int], *, seed: int) -> TaskData:
    """The task with some of the unlabeled inputs held out as dev or test.

    Args:
        data: the task.
        wanted: split -> number of inputs held out for it.
        seed: draws them.

    Raises:
        DataError: if no training input would be left.
    """
    for split, count in wanted.items():
        if count >= len(data.unlabeled):
            raise DataError(
                f"task.held_out.{split} is {count}, but the task has {len(data.unlabeled)} unlabeled inputs: none "
                "would be left for training; hold out fewer, or add inputs"
            )
        chosen, rest = draw_examples(data.unlabeled, count, "unlabeled", seed)
        withheld = Examples.of(data.withheld)
        withheld = withheld.take(np.flatnonzero(places(withheld.ids, chosen.ids) < 0))
        data = replace(data, **{split: chosen}, unlabeled=rest, withheld=withheld)
    return data


def draw_examples(examples: Sequence[Example], keep: int, split: str, seed: int) -> tuple[Examples, Examples]:
    """A random part of the examples, and the others; both are in the order of the file."""
    if not 1 <= keep <= len(examples):
        raise DataError(
            f"task.{split}_inputs is {keep}, found {len(examples)} different {split} sources; set it to 1 to "
            f"{len(examples)}"
        )
    drawn = drawn_rows(len(examples), seed)
    own = Examples.of(examples)
    return own.take(np.sort(drawn[:keep])), own.take(np.sort(drawn[keep:]))


def drawn_rows(count: int, seed: int) -> Rows:
    """The rows 0 to count - 1 in random order; a draw of n examples takes the first n."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return np.array(order, np.int64)


def refuse_shared_ids(splits: Mapping[str, Examples]) -> None:
    """Refuses one id for two sources in any splits: pseudo-targets refer to their input by its id."""
    examples = Examples.joined(*splits.values())
    ids, sources = codes_of(examples.ids), codes_of(examples.table["source"])
    _, first = np.unique(ids, return_index=True)
    others = np.flatnonzero(sources != sources[first[ids]])
    if len(others):
        ends = np.cumsum([len(split) for split in splits.values()])
        row = others[0]
        one, other = (list(splits)[np.searchsorted(ends, place, side="right")] for place in (first[ids[row]], row))
        raise DataError(
            f"id {examples[int(row)].id!r} names one source in {one} and another in {other}; "
            "make ids unique over the files, or set task.fields.id to null to generate them"
        )
