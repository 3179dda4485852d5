"""The store: a folder of finished stages, shared by runs and studies, in which work is done once.

A stage works in `<name>-<key>.partial`, where it may leave what lets it resume; when it is done, its manifest is
written and the folder gets its final name by one rename. An equal key means reuse. The store is not searched.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from understudy.errors import StoreError
from understudy.store.disk import checksums, disk_errors, make_folder, publish
from understudy.store.locks import hold
from understudy.store.manifest import MANIFEST, Manifest, parse, read_manifest, write_manifest
from understudy.store.stage import Stage, WorkerContext, inputs_of

LIBRARIES = ("understudy", "torch", "transformers", "ctranslate2")
PROGRESS_FILE = ".progress.jsonl"
"""Where a worker process appends the progress of a stage, inside its partial folder."""

F = TypeVar("F")
Outcome = Literal["made", "found"] | Exception
"""What became of a stage. An exception is one of the project's own, or an unexpected one."""
AnyStage = Stage[Any]
Observer = Callable[[AnyStage, Outcome], None]
"""Called after each stage that was made or failed."""


class Executor(Protocol):
    """Runs stages: here, in processes, or on a cluster that sees the same folder. It knows no models."""

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
        """Whether the stage and its shards are there. What only led to them may have been deleted."""
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
        finished: set[str] = (
            set()
        )  # looked up on disk once: a study asks for hundreds of stages after each that is made
        with executor.open(context) as queue:
            under_way: dict[str, AnyStage] = {}
            while True:
                ready = self._ready(wanted, context, {*outcomes, *under_way}, finished)
                if not ready and not under_way:
                    break
                here = [stage for stage in ready.values() if stage.in_caller]
                for stage in ready.values():
                    if not stage.in_caller:
                        under_way[stage.key] = stage
                        queue.submit(stage)
                done = [(stage, attempt(stage, context)) for stage in here] or [queue.wait()]
                for stage, outcome in done:
                    under_way.pop(stage.key, None)
                    outcomes[stage.key] = outcome
                    observe(stage, outcome)
        found = {stage.key for stage in wanted if stage.key in finished} - outcomes.keys()
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

    def _ready(
        self, wanted: Sequence[AnyStage], context: WorkerContext, busy: set[str], finished: set[str]
    ) -> dict[str, AnyStage]:
        """Stages all of whose inputs and shards are finished, in the order of the fields that name them."""

        def lacks(stage: AnyStage) -> bool:
            if stage.key not in finished and self.finished(stage):
                finished.add(stage.key)
            return stage.key not in finished

        ready: dict[str, AnyStage] = {}
        seen = set(busy)
        stack = list(reversed(wanted))
        while stack:
            stage = stack.pop()
            if stage.key in seen or not lacks(stage):
                continue
            seen.add(stage.key)
            lacking = [earlier for _, earlier in inputs_of(stage) if lacks(earlier)]
            lacking = lacking or [shard for shard in stage.shards(context) if lacks(shard)]
            if lacking:
                stack.extend(reversed(lacking))
            else:
                ready[stage.key] = stage
        return ready


def failure_of(stage: AnyStage, outcomes: Mapping[str, Outcome], context: WorkerContext) -> Exception | None:
    """What kept a stage from being made: its own failure, or that of a stage it needs; None if nothing did."""
    if context.store.finished(stage):
        return None
    own = outcomes.get(stage.key)
    if isinstance(own, Exception):
        return own
    earlier = [one for _, one in inputs_of(stage)]
    if all(context.store.finished(one) for one in earlier):
        earlier = list(stage.shards(context))
    return next((failure for one in earlier if (failure := failure_of(one, outcomes, context))), None)


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
        if (final / MANIFEST).is_file():  # only shards were missing, and they are there again
            return "made"
        partial.mkdir(exist_ok=True)
        remove_unfinished_files(partial)
        started = time.monotonic()
        facts = stage.run(partial, context)
        (partial / PROGRESS_FILE).unlink(missing_ok=True)
        write_manifest(partial, _manifest(stage, context, partial, facts, seconds=time.monotonic() - started))
        publish(partial, final)
    return "made"


def remove_unfinished_files(partial: Path) -> None:
    """Deletes what a killed attempt had not finished writing: hidden files and folders."""
    for half in sorted(partial.rglob(".*"), reverse=True):
        if half.is_dir():
            shutil.rmtree(half)
        else:
            half.unlink(missing_ok=True)


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
        versions={library: version(library) for library in LIBRARIES},
    )


def open_folder(root: Path, name: str) -> Manifest:
    """The manifest of the stage in a folder of the store, by the folder's name.

    Raises:
        StoreError: if it is not there.
    """
    folder = root / name
    if not folder.is_dir():
        raise StoreError(f"the stage {name} is not in {root}: it was deleted; run the recipe again to make it again")
    return read_manifest(folder)
