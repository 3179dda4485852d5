"""A data set in the hub's layout becomes the splits of a task, read by the library `datasets` (the extra `hub`).

Here rows become records with a source and a target, by templates of their columns. What a record must hold to be an
example stands in `files.py`. Code that comes with a data set is never run: the library refuses it.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from understudy.config.task import Fields, Hub
from understudy.config.template import Column, parts_of
from understudy.errors import DataError, first_line
from understudy.tasks.file_formats import Record
from understudy.tasks.files import Loaded, Split, assemble, read_split

FIELDS = Fields(id=None)
SHOWN = 60
"""Characters of a wrong value in a message."""


class Table(Protocol):
    """What is asked of a split as the library has it."""

    @property
    def column_names(self) -> list[str]:
        """The columns."""

    def __len__(self) -> int:
        """How many rows there are."""

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        """The rows."""


def load_hub(
    hub: Hub, *, labeled_inputs: int | None = None, unlabeled_inputs: int | None = None, seed: int = 0
) -> Loaded:
    """Read a task from a data set of the hub, or from a local folder in its layout.

    Args:
        hub: which data set, which of its splits, and how its columns make sources and targets.
        labeled_inputs: as in `load_files`.
        unlabeled_inputs: as in `load_files`.
        seed: as in `load_files`.

    Returns:
        The splits, with counts of what was merged and dropped; `incomplete` counts rows without a source or target.

    Raises:
        DataError: if the data set, a column or a row cannot be used.
    """
    names = {name: split for name, split in hub.splits if split is not None}
    splits: dict[str, Split] = {}
    incomplete = 0
    with opened(hub, list(names.values())) as tables:
        for (name, split), table in zip(names.items(), tables, strict=True):
            origin = f"{hub.dataset} {split}"
            asked = {"source": hub.source} | ({} if name == "unlabeled" else {"target": hub.target})
            templates = {field: parts_of(template) for field, template in asked.items()}
            refuse_unknown_columns(table, templates, origin)
            records = list(records_of(table, templates, origin, drop=hub.incomplete == "drop"))
            incomplete += len(table) - len(records)
            splits[name] = read_split(records, split=name, fields=FIELDS, labelled=name != "unlabeled", origin=origin)
    whole = assemble(splits, labeled_inputs=labeled_inputs, unlabeled_inputs=unlabeled_inputs, seed=seed)
    return Loaded(whole.data, whole.facts | {"incomplete": incomplete})


@contextmanager
def opened(hub: Hub, splits: Sequence[str]) -> Iterator[Sequence[Table]]:
    """The splits as tables, for as long as the context lasts."""
    local = Path(hub.dataset).is_dir()
    if local and hub.revision is not None:
        raise DataError(
            f"task.hub.revision is {hub.revision!r}, but {hub.dataset} is a local folder, which has no revisions; set "
            "it to null"
        )
    # The library copies what it reads into a cache: worth keeping of the hub's data sets, not of local files.
    with TemporaryDirectory() as scratch:
        yield loaded(hub, splits, cache=scratch if local else None)


def loaded(hub: Hub, splits: Sequence[str], *, cache: str | None) -> Sequence[Table]:
    """The splits as the library has them."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "task.hub is read by the library datasets, which is not installed; pip install 'understudy[hub]', or "
            "give local files by task.files"
        ) from error
    shown = not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # progress belongs to the command line
    try:
        tables: Sequence[Table] = datasets.load_dataset(
            hub.dataset, hub.config, revision=hub.revision, split=list(splits), cache_dir=cache
        )
    except datasets.exceptions.DatasetGenerationError as error:  # says only that there was another error
        raise unreadable(hub, splits, error.__cause__ or error) from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise unreadable(hub, splits, error) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    return tables


def unreadable(hub: Hub, splits: Sequence[str], error: BaseException) -> DataError:
    """The sentence for a data set that cannot be had: which, why, and what to do."""
    why = first_line(error).rstrip(".!")
    more = "".join(f", {name} {own}" for name, own in (("config", hub.config), ("revision", hub.revision)) if own)
    ways = (
        "the hub keeps a copy without them for most such data sets, task.hub.revision=refs/convert/parquet"
        if "scripts" in why
        else "name a data set of the hub and splits it has, while the hub can be reached"
    )
    return DataError(
        f"cannot read {', '.join(dict.fromkeys(splits))} of the data set {hub.dataset!r}{more}: {why}; {ways}, or give "
        "local files: a folder in the hub's layout as task.hub.dataset, or task.files"
    )


def refuse_unknown_columns(table: Table, templates: Mapping[str, Sequence[str | Column]], origin: str) -> None:
    """Stop at a column that the table has not, before its rows are read."""
    for field, parts in templates.items():
        for part in parts:
            if isinstance(part, Column) and part.path[0] not in table.column_names:
                near = difflib.get_close_matches(str(part.path[0]), table.column_names, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise DataError(
                    f"{origin}: no column {part.path[0]!r}, found: {', '.join(table.column_names)}; "
                    f"{hint}task.hub.{field} names the columns"
                )


def records_of(
    table: Iterable[Mapping[str, object]],
    templates: Mapping[str, Sequence[str | Column]],
    origin: str,
    *,
    drop: bool,
) -> Iterator[Record]:
    """A record for each row; rows that lack something are left out, or refused."""
    for number, row in enumerate(table, start=1):
        where = f"{origin} row {number}"
        texts: dict[str, object] = {}
        for field, parts in templates.items():
            pieces = [part if isinstance(part, str) else text_at(row, part, where) for part in parts]
            empty = [part for part, piece in zip(parts, pieces, strict=True) if piece is None]
            if empty and not drop:
                raise DataError(
                    f"{where}: there is nothing at {{{getattr(empty[0], 'written', '')}}}, which task.hub.{field} "
                    "names; set task.hub.incomplete=drop to leave such rows out"
                )
            if not empty:
                texts[field] = "".join(piece for piece in pieces if piece is not None)
        if len(texts) == len(templates):
            yield Record(number, where, texts)


def text_at(row: Mapping[str, object], column: Column, where: str) -> str | None:
    """The text at a place of a row; None where there is nothing but white space."""
    value: object = row
    for step in column.path:
        if value is None:
            return None
        if isinstance(step, int) and isinstance(value, list):
            value = value[step] if step < len(value) else None
        elif isinstance(step, str) and isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            raise DataError(
                f"{where}: {{{column.written}}} looks for {step!r} in a {type(value).__name__}, {value!r:.{SHOWN}}; "
                "write {name.key} for a key of an object and {name[0]} for an item of a list"
            )
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{where}: {{{column.written}}} is {value!r:.{SHOWN}}, a {type(value).__name__}; it must be a text or a "
            "whole number, so name one of its parts"
        )
    text = first_words(str(value), column.words)
    return text if text.strip() else None


def first_words(text: str, words: int | None) -> str:
    """The text up to the end of so many words, with its own white space."""
    if words is None:
        return text
    match = re.match(rf"(?:\s*\S+){{0,{words}}}", text)
    return match[0] if match else text
