"""What a stage is: a frozen value whose fields are its cache key, and the context it runs in.

    key = hash(format, name, version, fields)

A field that is None is left out, so that a new optional setting changes no key where it is not used. Fields may be
stages, however deep in tuples, dataclasses and config sections: a run is one expression. Keys never depend on outputs.
How stages are stored and made is `store.store`; which executor makes them is `executors`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_type_hints

from pydantic import BaseModel

from understudy.errors import StoreError
from understudy.progress import Progress
from understudy.ranks import ALONE, Ranks
from understudy.store.verify import verified

FORMAT = 2
"""Raised whenever the files of all stages change their meaning, so that old ones are not reused."""

F = TypeVar("F")
T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """Data that a stage reads, identified by what is in it."""

    digest: str
    place: str
    """Where it lies: an absolute path, a path relative to the store's root, or a hub name. Not in the key."""

    def path(self, root: Path) -> Path:
        """The place as a path; a relative one starts at the store's root."""
        return root / self.place


@dataclass(frozen=True)
class Stage(Generic[F]):
    """A cached step of a run. `F` is the frozen dataclass of facts that `run` returns and the manifest holds.

    Subclasses are frozen dataclasses. What is not a field cannot reach `run`, but for the context, which may not
    change the result.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when this stage's files change their meaning; other stages keep their keys."""
    in_caller: ClassVar[bool] = False
    """Whether it runs in the calling process: requests that share a budget, benchmarks of this machine."""
    alone: ClassVar[bool] = False
    """Whether a stage of the caller waits until no worker is busy: others would distort what a benchmark measures."""
    on_all_ranks: ClassVar[bool] = False
    """Whether all ranks make it together, where `torchrun` started several: a training."""

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that identify the stage's result."""
        return content_key([FORMAT, self.name, self.version, self.fields])

    @property
    def fields(self) -> dict[str, object]:
        """The fields as plain JSON data; a stage among them is its key.

        Raises:
            TypeError: if a field's content cannot be in the key, or the class is no dataclass of its own, so that its
                settings would not be fields.
        """
        if "__dataclass_fields__" not in vars(type(self)):
            raise TypeError(f"{type(self).__name__} must be a frozen dataclass: its settings would not be in the key")
        return _plain_parts(self)

    @property
    def folder_name(self) -> str:
        """The name of the folder in which the finished stage lies."""
        return f"{self.name}-{self.key}"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return self.name.replace("_", " ")

    @classmethod
    def facts_type(cls) -> type[F]:
        """The class of the facts, as `run` declares it."""
        declared: type[F] = get_type_hints(cls.run)["return"]
        return declared

    def shards(self, context: "WorkerContext") -> "Sequence[Stage[Any]]":  # noqa: ARG002 - a stage in one piece
        """Stages that can be made apart from each other before `run`; called once the inputs are finished."""
        return ()

    def run(self, folder: Path, context: "WorkerContext") -> F:
        """Fills `folder`, which may hold the remains of an interrupted attempt.

        Raises:
            UnderstudyError: if the stage cannot be made, with one sentence on what to do.
        """
        raise NotImplementedError


class StageStore(Protocol):
    """What a stage and the worker that makes it use of the store; `store.store.Store` is the one there is."""

    @property
    def root(self) -> Path:
        """The folder of finished stages."""

    @property
    def wait(self) -> bool:
        """Whether to wait for a stage that another process is making; otherwise it is refused."""

    def folder(self, stage: Stage[Any]) -> Path:
        """Where a finished stage lies."""

    def finished(self, stage: Stage[Any]) -> bool:
        """Whether the stage and its shards are there."""

    def facts(self, stage: Stage[F]) -> F:
        """The facts of a finished stage."""


def _alone(_folder: Path) -> Ranks:
    return ALONE


@dataclass(frozen=True)
class WorkerContext:
    """What a running stage may use in addition to its fields. Nothing in it may change the result."""

    store: StageStore
    progress: Progress
    allow_code: bool = False
    """Whether code that a recipe names (`module:object`) may be imported."""
    begin_on_all_ranks: Callable[[Path], Ranks] = _alone
    """Called by a stage of all ranks with its folder, once there is something to make: all ranks then run the stage."""
    _kept: dict[str, tuple[object, ExitStack]] = field(default_factory=dict, repr=False, compare=False)

    def folder(self, stage: Stage[Any]) -> Path:
        """The folder of a finished stage, whose files are verified.

        Raises:
            StoreError: if the stage is not finished, or is damaged.
        """
        return verified(self.store.root / stage.folder_name)

    def facts(self, stage: Stage[F]) -> F:
        """The facts of a finished stage.

        Raises:
            StoreError: if the stage is not finished, or its manifest cannot be read.
        """
        return self.store.facts(stage)

    def path(self, content: Content) -> Path:
        """Where content lies on this machine; the stage that holds it is verified.

        Raises:
            StoreError: if that stage is not finished, or is damaged.
        """
        if not Path(content.place).is_absolute():
            stage = self.store.root / Path(content.place).parts[0]
            if not stage.is_file():  # a file of the user's
                verified(stage)
        return content.path(self.store.root)

    def reuse(self, key: str, opened: Callable[[], AbstractContextManager[T]]) -> T:
        """What `opened` gives, kept open until another key is requested: the next shard loads nothing again."""
        if key not in self._kept:
            self.close()
            stack = ExitStack()
            self._kept[key] = stack.enter_context(opened()), stack
        value: T = self._kept[key][0]  # type: ignore[assignment]  # one key, one type
        return value

    def close(self) -> None:
        """Closes what `reuse` kept open."""
        for _, stack in self._kept.values():
            stack.close()
        self._kept.clear()


def named_parts(value: object) -> Iterator[tuple[str, object]]:
    """The named parts of a field's value: the one walk over tuples, dataclasses and config sections."""
    if isinstance(value, tuple):
        yield from ((str(index), item) for index, item in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((part.name, getattr(value, part.name)) for part in dataclasses.fields(value))
    elif isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        yield from ((str(name), item) for name, item in sorted(value.items()))


def plain(value: object) -> object:
    """A field as JSON data.

    Raises:
        TypeError: for a value whose identity is not its content (a path, a model, a function).
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Stage):
        return {"stage": value.key}
    if isinstance(value, Content):
        return {"content": value.digest}
    if isinstance(value, tuple):
        return [plain(item) for _, item in named_parts(value)]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in named_parts(value)}
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return {type(value).__name__: _plain_parts(value)}
    raise TypeError(f"a stage's field cannot be a {type(value).__name__}: its content would not be in the key")


def _plain_parts(value: object) -> dict[str, object]:
    """The fields of a record; those that are None, as optional settings are where they are not used, are left out."""
    return {name: plain(part) for name, part in named_parts(value) if part is not None}


def inputs_of(value: object, *, name: str = "") -> Iterator[tuple[str, Stage[Any]]]:
    """The stages among a stage's fields with the paths of their fields, however deep in tuples and sections."""
    for part_name, part in named_parts(value):
        path = f"{name}.{part_name}" if name else part_name
        if isinstance(part, Stage):
            yield path, part
        else:
            yield from inputs_of(part, name=path)


def content_key(value: object) -> str:
    """Sixteen hexadecimal digits that are equal for equal plain data."""
    return hashlib.sha256(_canonical(value)).hexdigest()[:16]


def rows_key(rows: Iterable[object]) -> str:
    """The `content_key` of the list of these rows, of which only one is in memory at a time."""
    digest = hashlib.sha256(b"[")
    for number, row in enumerate(rows):
        digest.update(b"," * bool(number) + _canonical(row))
    digest.update(b"]")
    return digest.hexdigest()[:16]


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class FinishedStage(Stage[dict[str, Any]]):
    """A stage that was finished before, named by its folder: for what is done with a run long after it."""

    stored: str
    """The folder's name, `<name>-<key>`."""
    name: ClassVar[str] = "finished"

    @cached_property
    def key(self) -> str:
        """The key of the stage in the folder, so that what depends on it has the key it had then."""
        return self.stored.rpartition("-")[2]

    @property
    def folder_name(self) -> str:
        """The folder that was named."""
        return self.stored

    def run(self, folder: Path, context: WorkerContext) -> dict[str, Any]:  # noqa: ARG002 - it cannot be made here
        """Only a stage that is missing is run: this one cannot be made from its folder's name.

        Raises:
            StoreError: always.
        """
        raise StoreError(
            f"the stage {self.stored} is not in {context.store.root}: it was deleted; run its recipe again to make it"
        )
