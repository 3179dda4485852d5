"""The stage of the task's splits, read and checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from understudy.columns import ArrowColumn, Examples, Rows, open_rows, places, save_rows
from understudy.config.task import (
    Fields,
    FilesTask,
    ForecastSizes,
    ForecastTask,
    Format,
    HeldOut,
    Hub,
    HubTask,
    Kd4gen,
    Splits,
    Task,
)
from understudy.demo.forecast import forecast_task
from understudy.errors import StoreError
from understudy.progress import Progress
from understudy.records import Example, TaskData
from understudy.store import Content, Stage, WorkerContext
from understudy.store.disk import checksum, checksums
from understudy.store.stage import content_key
from understudy.tasks.files import LoadedTask, hold_out, load_files
from understudy.tasks.guards import describe, drop_leaks, refuse_leaks
from understudy.tasks.hub import load_hub
from understudy.tasks.kd4gen import load_kd4gen
from understudy.tasks.task_records import RecordSettings

SPLITS = tuple(field.name for field in fields(TaskData))
ORDER = "unlabeled_order"
"""The rows of the unlabeled inputs in the order in which they were drawn: asking for more appends."""
CHANGES = {
    "merged": "records have the source of an earlier record of their file and are merged with it",
    "repeated": "targets repeat a target of their source and are left out",
    "shared": "unlabeled inputs are labeled too, or occur twice, and are left out",
    "incomplete": "rows have no source or no target and are left out",
}
"""Fact of loading -> what the user reads after its count."""
Policy = Literal["refuse", "drop_from_train", "allow"]


@dataclass(frozen=True)
class Counts:
    """How many inputs of each kind a task takes; None: all."""

    labeled: int | None
    unlabeled: int | None


@dataclass(frozen=True)
class FilesSource:
    """The user's files: split -> content."""

    files: tuple[tuple[str, Content], ...]
    fields: Fields
    format: Format
    batch_requests: Content | None
    """The file that `format` names; its path is not in the key."""
    held_out: HeldOut
    unreferenced: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True)
class Kd4genSource:
    """A file in the format of the KD4Gen code."""

    file: Content
    held_out: HeldOut
    counts: Counts


@dataclass(frozen=True)
class HubSource:
    """A data set in the layout of the Hugging Face hub."""

    hub: Hub
    content: Content
    counts: Counts


DataSource = FilesSource | Kd4genSource | HubSource | ForecastSizes


@dataclass(frozen=True)
class DataFacts:
    """What the task holds."""

    splits: dict[str, dict[str, float]]
    """Split -> inputs, targets, mean words of a source and of a target."""
    changes: dict[str, int]
    """What was merged or dropped while the files were read."""


@dataclass(frozen=True)
class DataStage(Stage[DataFacts]):
    """The splits of a task as columns, one Arrow file each."""

    source: DataSource
    leaks: Policy
    seed: int
    name: ClassVar[str] = "data"
    version: ClassVar[int] = 3

    def run(self, folder: Path, context: WorkerContext) -> DataFacts:
        """Reads the splits and refuses or drops inputs that are both learned from and scored."""
        loaded = _load(self.source, self.seed, folder, context.progress)
        _log_changes(context, loaded.facts)
        data = loaded.data
        match self.leaks:
            case "refuse":
                refuse_leaks(data)
            case "drop_from_train":
                data = drop_leaks(data)
                _log_dropped(context, loaded.data, data)
            case "allow":
                pass
        for split in SPLITS:
            write_split(folder, split, getattr(data, split))
        write_order(folder, loaded.unlabeled_order, Examples.of(data.unlabeled))
        return DataFacts(describe(data), dict(loaded.facts))


def data_source(task: Task) -> DataSource:
    """What the splits of a task are read from; files by their content.

    A missing file has no content: reading it raises the error.
    """
    match task:
        case ForecastTask():
            return task.forecast
        case HubTask(hub=hub):
            folder = Path(hub.dataset)
            digest = content_key(checksums(folder)) if folder.is_dir() else f"hub:{hub.dataset}"
            # Where it lies is not part of the key, so the section takes no path.
            return HubSource(hub.model_copy(update={"dataset": ""}), Content(digest, hub.dataset), _counts(task))
        case FilesTask(files=Splits() as files):
            contents = tuple((name, file_content(path)) for name, path in files if path is not None)
            requests = task.format.batch_requests
            return FilesSource(
                contents,
                task.fields,
                task.format.model_copy(update={"batch_requests": None}),
                file_content(requests) if requests else None,
                task.held_out,
                task.pseudo_references,
                _counts(task),
            )
        case FilesTask(files=Kd4gen() as kd4gen):
            return Kd4genSource(file_content(kd4gen.kd4gen), task.held_out, _counts(task))
    raise AssertionError(task)


def file_content(path: Path) -> Content:
    """A file as content."""
    return Content(checksum(path) if path.is_file() else "missing", str(path.resolve()))


def write_split(folder: Path, split: str, examples: Iterable[Example]) -> None:
    """Writes one split."""
    Examples.of(examples).save(folder / f"{split}.arrow")


def load_split(folder: Path, split: str) -> Examples:
    """One split of a finished data or examples stage, mapped from its file.

    Raises:
        StoreError: if the stage was made by a version that wrote other files.
    """
    return Examples.open(_path(folder, split))


def read_data(folder: Path) -> TaskData:
    """All splits of a finished data or examples stage."""
    return TaskData(**{split: load_split(folder, split) for split in SPLITS})


def write_order(folder: Path, order: ArrowColumn, unlabeled: Examples) -> None:
    """Writes in which order the unlabeled inputs were drawn; `order` may have ids of inputs that were dropped."""
    rows = places(order, unlabeled.ids)
    save_rows(folder / f"{ORDER}.arrow", rows[rows >= 0])


def read_order(folder: Path) -> Rows:
    """The rows of the unlabeled inputs of a finished data or examples stage, in the order in which they were drawn."""
    return open_rows(_path(folder, ORDER))


def _path(folder: Path, name: str) -> Path:
    path = folder / f"{name}.arrow"
    if not path.is_file():
        raise StoreError(f"{path} is missing: an earlier version of understudy made {folder}; run the recipe again")
    return path


def _counts(task: FilesTask | HubTask) -> Counts:
    return Counts(task.labeled_inputs, task.unlabeled_inputs)


def _load(source: DataSource, seed: int, scratch: Path, progress: Progress) -> LoadedTask:
    match source:
        case ForecastSizes():
            data = forecast_task(**source.model_dump(), seed=seed)
            return LoadedTask(data, {}, Examples.of(data.unlabeled).ids)
        case HubSource(hub=hub, content=content, counts=counts):
            named = hub.model_copy(update={"dataset": content.place})
            return load_hub(
                named,
                labeled_inputs=counts.labeled,
                unlabeled_inputs=counts.unlabeled,
                seed=seed,
                scratch=scratch,
                progress=progress,
            )
        case Kd4genSource(file=file, held_out=held_out, counts=counts):
            loaded = load_kd4gen(
                Path(file.place),
                labeled_inputs=counts.labeled,
                unlabeled_inputs=counts.unlabeled,
                seed=seed,
                progress=progress,
            )
            return _held_out(loaded, held_out, seed)
        case FilesSource(held_out=held_out, counts=counts):
            paths: Mapping[str, Path] = {name: Path(content.place) for name, content in source.files}
            form = source.format
            if source.batch_requests:
                form = form.model_copy(update={"batch_requests": Path(source.batch_requests.place)})
            loaded = load_files(
                **paths,
                settings=RecordSettings(source.fields, form, progress.log, progress),
                unreferenced=source.unreferenced,
                labeled_inputs=counts.labeled,
                unlabeled_inputs=counts.unlabeled,
                seed=seed,
            )
            return _held_out(loaded, held_out, seed)


def _held_out(loaded: LoadedTask, held_out: HeldOut, seed: int) -> LoadedTask:
    data = hold_out(loaded.data, {split: count for split, count in held_out if count}, seed=seed)
    return LoadedTask(data, loaded.facts, loaded.unlabeled_order)


def _log_changes(context: WorkerContext, facts: Mapping[str, int]) -> None:
    for change, meaning in CHANGES.items():
        if count := facts.get(change):
            context.progress.log(f"{count} {meaning}")


def _log_dropped(context: WorkerContext, whole: TaskData, clean: TaskData) -> None:
    for split in SPLITS:
        if gone := len(getattr(whole, split)) - len(getattr(clean, split)):
            context.progress.log(f"{gone} {split} inputs are also in a held-out split and are dropped (task.leaks)")
