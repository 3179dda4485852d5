"""The store: a folder of finished stages, shared by runs and studies, in which work is done once.

A stage works in `<name>-<key>.partial`, where it may leave what lets it resume; when it is done, its manifest is
written and the folder gets its final name by one rename. An equal key means reuse. The store is not searched.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from understudy.errors import StoreError
from understudy.store.disk import checksums, delete, disk_errors, make_folder, publish
from understudy.store.locks import hold
from understudy.store.manifest import MANIFEST, Manifest, parse, read_manifest, write_manifest
from understudy.store.stage import Stage, WorkerContext, inputs_of

LIBRARIES = ("understudy", "torch", "transformers", "ctranslate2")

F = TypeVar("F")
Outcome = Literal["made", "found"] | Exception
"""What became of a stage. An exception is one of the project's own, or an unexpected one."""
AnyStage = Stage[Any]
Observer = Callable[[AnyStage, Outcome], None]
"""Called after each stage that was made or failed, or that another process finished meanwhile."""


class Executor(Protocol):
    """Runs stages: here, in processes, or on a cluster that sees the same folder. It does not depend on models."""

    def open(self, context: WorkerContext) -> AbstractContextManager["StageQueue"]:
        """Workers for one resolution of stages."""


class StageQueue(Protocol):
    """Stages under way."""

    def submit(self, stage: AnyStage) -> None:
        """Starts a stage that is ready, or queues it."""

    def wait(self) -> tuple[AnyStage, Outcome]:
        """The next stage that is done, and what became of it; called while something is under way."""


@dataclass(frozen=True)
class Store:
    """A folder of finished stages."""

    root: Path
    wait: bool = False
    """Whether to wait for a stage that another process is making; otherwise it is refused."""

    def folder(self, stage: AnyStage) -> Path:
        """Where a finished stage lies."""
        return self.root / stage.folder_name

    def finished(self, stage: AnyStage) -> bool:
        """Whether the stage and its shards are there. Stages that only they need may have been deleted."""
        folder = self.folder(stage)
        return (folder / MANIFEST).is_file() and all(
            (self.root / shard / MANIFEST).is_file() for shard in read_manifest(folder).shards
        )

    def manifest(self, stage: AnyStage) -> Manifest:
        """The manifest of a finished stage.

        Raises:
            StoreError: if the stage is not finished, or is damaged.
        """
        return read_manifest(self.folder(stage))

    def facts(self, stage: Stage[F]) -> F:
        """The facts of a finished stage.

        Raises:
            StoreError: as `manifest`.
        """
        folder = self.folder(stage)
        return parse(stage.facts_type(), self.manifest(stage).facts, folder)

    def get_all(
        self,
        wanted: Sequence[AnyStage],
        executor: Executor,
        context: WorkerContext,
        *,
        observe: Observer = lambda _stage, _outcome: None,
    ) -> dict[str, Outcome]:
        """Makes what is missing of the wanted stages, starting from the last: what only led to a finished one is not
        needed. Stages that are ready run side by side; a failure stops those that need the stage and no others.

        Args:
            wanted: the stages whose results are needed.
            executor: where they run. Stages with `in_caller` run in this process.
            context: for those.
            observe: called after each stage that was made or failed.

        Returns:
            What became of the wanted stages and of all that had to be made for them, by key.
        """
        outcomes: dict[str, Outcome] = {}
        under_way: set[str] = set()
        search = _Search(context)
        with executor.open(context) as queue:
            while True:
                ready = search.ready(wanted, busy=outcomes.keys() | under_way)
                for stage in ready:
                    if not stage.in_caller:
                        queue.submit(stage)
                        under_way.add(stage.key)
                here = next((one for one in ready if one.in_caller and not (one.alone and under_way)), None)
                if here is None and not under_way:
                    break
                done, outcome = queue.wait() if here is None else (here, attempt(here, context))
                under_way.discard(done.key)
                outcomes[done.key] = outcome
                if not isinstance(outcome, Exception):
                    search.finished.add(done.key)
                observe(done, outcome)
        found = [stage.key for stage in wanted if stage.key in search.finished and stage.key not in outcomes]
        return {**dict.fromkeys(found, "found"), **outcomes}

    def get(self, stage: Stage[F], executor: Executor, context: WorkerContext) -> F:
        """The facts of one stage, which is made if it is missing.

        Raises:
            Exception: whatever stopped it or a stage that it needs.
        """
        outcomes = self.get_all([stage], executor, context)
        for outcome in outcomes.values():
            if isinstance(outcome, Exception):
                raise outcome
        return self.facts(stage)


@dataclass
class _Search:
    """Finds the stages that can be made now. It looks up each stage and its shards once: after each stage that is made,
    a study requests hundreds of others.
    """

    context: WorkerContext
    finished: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    shards: dict[str, Sequence[AnyStage]] = field(default_factory=dict)

    def ready(self, wanted: Sequence[AnyStage], busy: AbstractSet[str]) -> list[AnyStage]:
        """Unfinished stages all of whose inputs and shards are finished, in the order of the fields that name them.

        Args:
            wanted: the stages whose results are needed.
            busy: keys of stages that are under way or were tried.
        """
        ready: list[AnyStage] = []
        seen = set(busy)
        stack = list(reversed(wanted))
        while stack:
            stage = stack.pop()
            if stage.key in seen or self._is_finished(stage):
                continue
            seen.add(stage.key)
            missing = self._missing(stage)
            if missing:
                stack.extend(reversed(missing))
            else:
                ready.append(stage)
        return ready

    def _missing(self, stage: AnyStage) -> list[AnyStage]:
        inputs = [earlier for _, earlier in inputs_of(stage) if not self._is_finished(earlier)]
        if inputs:
            return inputs
        if stage.key not in self.shards:
            self.shards[stage.key] = stage.shards(self.context)
        return [shard for shard in self.shards[stage.key] if not self._is_finished(shard)]

    def _is_finished(self, stage: AnyStage) -> bool:
        if stage.key not in self.finished and stage.key not in self.missing:
            (self.finished if self.context.store.finished(stage) else self.missing).add(stage.key)
        return stage.key in self.finished


def failure_of(stage: AnyStage, outcomes: Mapping[str, Outcome], context: WorkerContext) -> Exception | None:
    """What kept a stage from being made: its own failure, or that of a stage it needs; None if nothing did."""
    store = context.store
    seen: set[str] = set()
    stack = [stage]
    while stack:
        one = stack.pop()
        if one.key in seen or store.finished(one):
            continue
        seen.add(one.key)
        outcome = outcomes.get(one.key)
        if isinstance(outcome, Exception):
            return outcome
        inputs = [earlier for _, earlier in inputs_of(one)]
        needed = inputs if not all(map(store.finished, inputs)) else list(one.shards(context))
        stack.extend(reversed(needed))
    return None


def attempt(stage: AnyStage, context: WorkerContext) -> Outcome:
    """Makes one stage whose inputs are finished; an error is the outcome instead of being raised."""
    try:
        return make(stage, context)
    except Exception as error:  # noqa: BLE001 - one failed stage must not stop those that do not need it
        return error


def make(stage: AnyStage, context: WorkerContext) -> Literal["made", "found"]:
    """Makes one stage whose inputs are finished: works in a partial folder, manifest last, then one rename.

    Raises:
        StoreError: if another process is making this stage and is not to be waited for, or the disk is full.
        UnderstudyError: whatever the stage raises.
    """
    store = context.store
    make_folder(store.root)
    final = store.folder(stage)
    partial = final.with_name(f"{final.name}.partial")
    with disk_errors(store.root), hold(store.root / f".{final.name}.lock", wait=store.wait, making=final):
        if store.finished(stage):  # another process finished it between the first look and the lock
            return "found"
        if final.exists():
            raise StoreError(
                f"{final} has no manifest, or its manifest lists shards that are missing and that the stage does not "
                "have any more; delete the folder and run the recipe again to make the stage again"
            )
        prepare_partial(partial)
        started = time.monotonic()
        facts = stage.run(partial, context)
        write_manifest(partial, _manifest(stage, context, partial, facts, seconds=time.monotonic() - started))
        publish(partial, final)
    return "made"


def prepare_partial(partial: Path) -> None:
    """Makes the folder of an attempt, or deletes what a killed one had not finished: hidden files and folders, and a
    manifest of an earlier state.

    Raises:
        StoreError: if that is not possible; it names the folder to delete.
    """
    try:
        partial.mkdir(exist_ok=True)
        for half in (partial / MANIFEST, *sorted(partial.rglob(".*"), reverse=True)):
            delete(half)
    except OSError as error:
        if isinstance(error, FileExistsError | PermissionError):
            raise StoreError(
                f"{error.filename} stands in the way of an unfinished stage ({error.strerror}); delete {partial} and "
                "run the same command again"
            ) from None
        raise


@cache
def _versions() -> Mapping[str, str]:
    return {library: version(library) for library in LIBRARIES}


def _manifest(stage: AnyStage, context: WorkerContext, partial: Path, facts: object, *, seconds: float) -> Manifest:
    plain: dict[str, Any] = asdict(facts)  # type: ignore[call-overload]  # facts are a frozen dataclass
    return Manifest(
        stage=stage.name,
        key=stage.key,
        version=stage.version,
        fields=stage.fields,
        inputs={path: earlier.folder_name for path, earlier in inputs_of(stage)},
        shards=tuple(shard.folder_name for shard in stage.shards(context)),
        files=checksums(partial),
        facts=plain,
        seconds=round(max(seconds, float(plain.get("seconds", 0.0))), 3),
        versions=dict(_versions()),
    )
