"""Examples held in memory become the files of a task, so that they have a content and a place like any others."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from understudy.errors import DataError
from understudy.records import Example
from understudy.store.disk import make_folder, write_text
from understudy.tasks.json_values import MOST_DIGITS
from understudy.tasks.record import Record
from understudy.tasks.record_checks import whole_characters

Given = Example | tuple[str, str] | str
"""An example, a source with its target, or a source alone."""
PAIR = 2
LARGEST = 10**MOST_DIGITS


def save_examples(
    folder: str | Path,
    *,
    labeled: Iterable[Given] = (),
    unlabeled: Iterable[Given] = (),
    dev: Iterable[Given] = (),
    test: Iterable[Given] = (),
) -> dict[str, str]:
    """Writes examples as JSON lines, one file per split that has any.

    Args:
        folder: created if it does not exist; files of these names are replaced.
        labeled: examples with targets.
        unlabeled: sources alone; targets are written and not read.
        dev: examples with targets, or sources whose references an API teacher writes.
        test: as dev.

    Returns:
        The section `task.files` of a recipe: split -> path.

    Raises:
        DataError: if no split has an example, or something given is none.
        StoreError: if the folder cannot be created.
    """
    folder = Path(folder).resolve()
    splits = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    rows = {name: _records(name, own) for name, own in splits.items()}
    if not any(rows.values()):
        raise DataError("no example was given; give at least one of labeled, unlabeled, dev, test")
    _refuse_shared_ids(rows)
    make_folder(folder)
    paths = {name: folder / f"{name}.jsonl" for name, own in rows.items() if own}
    for name, path in paths.items():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[name]))
    return {name: str(path) for name, path in paths.items()}


def _records(split: str, given: Iterable[Given]) -> list[dict[str, object]]:
    if isinstance(given, str | Mapping | Example) or not isinstance(given, Iterable):
        raise DataError(f"{split} is {_shown(given)}; give a list of examples, of (source, target) pairs or of sources")
    return [_record(split, index, one) for index, one in enumerate(given)]


def _record(split: str, index: int, given: object) -> dict[str, object]:
    where, name = f"{split}[{index}]", f"{split}-{index}"
    match given:
        case Example(id=own, source=source, targets=targets):
            if isinstance(targets, str) or not isinstance(targets, Iterable):
                raise DataError(f"{where}.targets is {_shown(targets)}; give a tuple of texts")
            texts = [_text(f"{where}.targets[{number}]", text) for number, text in enumerate(targets)]
            row: dict[str, object] = {"id": _id(f"{where}.id", own), "source": _text(f"{where}.source", source)}
            row |= {"targets": texts} if texts else {}
        case str():
            row = {"id": name, "source": _text(where, given)}
        case (source, target) if isinstance(given, tuple | list):
            row = {"id": name, "source": _text(f"{where}[0]", source), "target": _text(f"{where}[1]", target)}
        case _:
            raise DataError(f"{where} is {_shown(given)}; give an Example, a (source, target) pair or a source")
    if split == "labeled" and len(row) == PAIR:
        raise DataError(f"{where} has no target; give a (source, target) pair, or move the source to unlabeled")
    return row


def _text(where: str, value: object) -> str:
    """The value, if it is a text that is not blank."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise DataError(f"{where} is {_shown(value)}; it must be a text that is not blank")
    return whole_characters(Record(0, where, {}), "the text", value)


def _id(where: str, value: object) -> str:
    """The value as a text, if it is an id."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where} is {_shown(value)}; an id must be a text or a whole number")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise DataError(f"{where} is {_shown(value)}; give a text as the id")
    return whole_characters(Record(0, where, {}), "the id", str(value))


def _shown(value: object) -> str:
    """A wrong value and its type, for a message."""
    if isinstance(value, int) and abs(value) >= LARGEST:  # Python refuses to write a number of 5,000 digits
        return f"a number of more than {MOST_DIGITS} digits"
    return f"{value!r:.60}, a {type(value).__name__}"


def _refuse_shared_ids(rows: Mapping[str, list[dict[str, object]]]) -> None:
    """Refuses one id for two sources, in any splits."""
    seen: dict[object, tuple[str, object]] = {}
    for split, records in rows.items():
        for index, row in enumerate(records):
            where, source = seen.setdefault(row["id"], (f"{split}[{index}]", row["source"]))
            if source != row["source"]:
                raise DataError(
                    f"{split}[{index}] has the id {row['id']!r:.60} of another source, {where}; make ids unique"
                )
