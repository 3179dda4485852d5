"""Loads the splits of a task from a Hugging Face dataset with the library `datasets` (the extra `hub`).

Templates of columns turn rows into records with a source and a target; `files.py` decides which records are valid
examples. A local folder in the hub's layout is read the same way. Code in a dataset never runs: the library refuses it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from understudy.config.task import Fields, Hub
from understudy.config.template import Column, Role, parts_of
from understudy.errors import DataError, did_you_mean, first_line
from understudy.progress import SILENT, Progress, reported
from understudy.tasks.chat_turns import ROLES
from understudy.tasks.files import LoadedSplit, LoadedTask, assemble, read_split
from understudy.tasks.record import Record

HUB_FIELDS = Fields(id=None)
SHOWN_VALUE = 60
"""Characters of a wrong value that a message shows."""


class HubTable(Protocol):
    """A split, with the part of the library's interface that is used here."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""

    def __len__(self) -> int:
        """Number of rows."""

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        """The rows."""


def load_hub(
    hub: Hub,
    *,
    labeled_inputs: int | None = None,
    unlabeled_inputs: int | None = None,
    seed: int = 0,
    scratch: Path | None = None,
    progress: Progress = SILENT,
) -> LoadedTask:
    """Loads a task from a dataset of the hub, or from a local folder in its layout.

    Args:
        hub: the dataset, its splits, and the templates of sources and targets.
        labeled_inputs: as in `load_files`.
        unlabeled_inputs: as in `load_files`.
        seed: as in `load_files`.
        scratch: an existing folder for temporary files; None: the system's.
        progress: of reading the rows.

    Returns:
        The splits, with counts of what was merged and dropped; `incomplete` counts the rows that were
        dropped because they have no source or target.

    Raises:
        DataError: if the dataset, a column or a row cannot be used.
    """
    names = {name: split for name, split in hub.splits if split is not None}
    splits: dict[str, LoadedSplit] = {}
    incomplete = 0
    with open_tables(hub, list(names.values()), scratch) as tables:
        for (name, split), table in zip(names.items(), tables, strict=True):
            origin = f"{hub.dataset} {split}"
            wanted = {"source": hub.source} | ({} if name == "unlabeled" else {"target": hub.target})
            templates = {field: parts_of(template) for field, template in wanted.items()}
            refuse_unknown_columns(table, templates, origin)
            records = records_of(table, templates, origin, drop=hub.incomplete == "drop")
            splits[name] = read_split(
                reported(progress, f"read {name}", records, "row"),
                split=name,
                fields=HUB_FIELDS,
                labeled=name != "unlabeled",
                origin=origin,
            )
            incomplete += len(table) - splits[name].merged - len(splits[name].examples)
    whole = assemble(splits, labeled_inputs=labeled_inputs, unlabeled_inputs=unlabeled_inputs, seed=seed)
    return replace(whole, facts=whole.facts | {"incomplete": incomplete})


@contextmanager
def open_tables(hub: Hub, splits: Sequence[str], scratch: Path | None) -> Iterator[Sequence[HubTable]]:
    """The splits as tables, valid within the context."""
    local = Path(hub.dataset).is_dir()
    if local and hub.revision is not None:
        raise DataError(
            f"task.hub.revision is {hub.revision!r}, but {hub.dataset} is a local folder, which has no revisions; set "
            "it to null"
        )
    # The library copies what it reads into a cache. That is worth keeping for datasets of the hub, not for local files.
    with TemporaryDirectory(prefix=".hub-", dir=scratch) as cache:
        yield load_tables(hub, splits, cache=cache if local else None)


def load_tables(hub: Hub, splits: Sequence[str], *, cache: str | None) -> Sequence[HubTable]:
    """The splits as tables of the library."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "task.hub needs the library datasets, which is not installed; pip install 'understudy[hub]', or give local "
            "files with task.files"
        ) from error
    shown = not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the command line shows progress
    try:
        tables: Sequence[HubTable] = datasets.load_dataset(
            hub.dataset, hub.config, revision=hub.revision, split=list(splits), cache_dir=cache
        )
    except datasets.exceptions.DatasetGenerationError as error:  # its message only refers to its cause
        raise loading_error(hub, splits, error.__cause__ or error) from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise loading_error(hub, splits, error) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    return tables


def loading_error(hub: Hub, splits: Sequence[str], error: BaseException) -> DataError:
    """The error for a dataset that cannot be loaded: which one, why, and what to do."""
    why = first_line(error).rstrip(".!")
    more = "".join(f", {name} {value}" for name, value in (("config", hub.config), ("revision", hub.revision)) if value)
    remedy = (
        "for most such datasets the hub has a copy without scripts, task.hub.revision=refs/convert/parquet"
        if "scripts" in why
        else "check the names of the dataset and its splits, and that the hub is reachable"
    )
    return DataError(
        f"cannot load {', '.join(dict.fromkeys(splits))} of the dataset {hub.dataset!r}{more}: {why}; {remedy}, or "
        "give local files: a folder in the hub's layout as task.hub.dataset, or task.files"
    )


def refuse_unknown_columns(table: HubTable, templates: Mapping[str, Sequence[str | Column]], origin: str) -> None:
    """Refuses templates with a column that the table lacks, before its rows are read."""
    for field, parts in templates.items():
        for part in parts:
            if isinstance(part, Column) and part.path[0] not in table.column_names:
                raise DataError(
                    f"{origin}: no column {part.path[0]!r}, found: {', '.join(table.column_names)}; "
                    f"task.hub.{field} names the columns{did_you_mean(str(part.path[0]), table.column_names)}"
                )


def records_of(
    table: Iterable[Mapping[str, object]],
    templates: Mapping[str, Sequence[str | Column]],
    origin: str,
    *,
    drop: bool,
) -> Iterator[Record]:
    """A record for each row; rows without a source or a target are dropped or refused."""
    for number, row in enumerate(table, start=1):
        where = f"{origin} row {number}"
        texts: dict[str, object] = {}
        for field, parts in templates.items():
            texts_of_parts = [part if isinstance(part, str) else text_at(row, part, where) for part in parts]
            empty = [part for part, text in zip(parts, texts_of_parts, strict=True) if text is None]
            if empty and not drop:
                raise DataError(
                    f"{where}: {{{getattr(empty[0], 'written', '')}}} of task.hub.{field} is empty; set "
                    "task.hub.incomplete=drop to leave such rows out"
                )
            if not empty:
                texts[field] = "".join(text for text in texts_of_parts if text is not None)
        if len(texts) == len(templates):
            yield Record(number, where, texts)


def text_at(row: Mapping[str, object], column: Column, where: str) -> str | None:
    """The text of a column or a part of it; None if it is missing or blank."""
    value: object = row
    for step in column.path:
        if value is None:
            return None
        if isinstance(step, int) and isinstance(value, list):
            value = value[step] if step < len(value) else None
            if role_of(value) == "system":
                raise DataError(
                    f"{where}: {{{column.written}}} is a system turn, not an input; write {{{column.path[0]}[user]."
                    f"{column.path[-1]}}} for the last message of the user, whatever comes before it"
                )
        elif isinstance(step, Role) and isinstance(value, list):
            value = next((message for message in reversed(value) if role_of(message) == step.name), None)
        elif isinstance(step, str) and isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            raise DataError(
                f"{where}: {{{column.written}}} needs {getattr(step, 'name', step)!r}, but found a "
                f"{type(value).__name__}, {value!r:.{SHOWN_VALUE}}; write "
                "{name.key} for a key of an object and {name[0]} for an item of a list"
            )
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{where}: {{{column.written}}} is {value!r:.{SHOWN_VALUE}}, a {type(value).__name__}; it must be text or "
            "a whole number, so name one of its parts"
        )
    text = first_words(str(value), column.words)
    return text if text.strip() else None


def role_of(message: object) -> str | None:
    """The role of a message of a conversation; None for anything else."""
    if not isinstance(message, Mapping):
        return None
    return ROLES.get(str(message.get("role", message.get("from"))))


def first_words(text: str, words: int | None) -> str:
    """The beginning of the text with at most this many words, white space included; None: the whole text."""
    if words is None:
        return text
    match = re.match(rf"(?:\s*\S+){{0,{words}}}", text)
    return match[0] if match else text
