"""Stages: work that is done once, named by what determines its result.

    key = hash(stage, settings that change the result, keys of the stages it reads, format)

A stage works in `<stage>-<key>.partial`, where it may leave what lets it go on after a kill; when it is done, its
manifest is written and the folder gets its final name. An equal key means reuse, across runs and studies.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from understudy.errors import StoreError
from understudy.records import Manifest
from understudy.store.disk import checksums, make_folder, publish, read_json, room_on, write_json

FORMAT = 1
"""Raised whenever a stage's files change their meaning, so that old ones are not reused."""
MANIFEST = "manifest.json"
KEY = "?" * 16
"""Matches the key in the name of a finished stage; the name of one that is being made goes on."""
LIBRARIES = ("understudy", "torch", "transformers", "ctranslate2")

Work = Callable[[Path], Mapping[str, object]]
"""Fills the folder it is given, which may hold the remains of a killed attempt; returns the stage's facts.

A fact `seconds` is the time of all attempts, where the work knows it."""


@dataclass(frozen=True)
class Finished:
    """A stage that is done."""

    folder: Path
    manifest: Manifest
    reused: bool

    @property
    def key(self) -> str:
        """What the stage's result is determined by, hashed."""
        return self.manifest.key


@dataclass(frozen=True)
class Store:
    """A folder of finished stages, shared by runs."""

    root: Path
    wait: bool = False
    """Whether a stage that another process is making is waited for; else it is refused."""
    made: set[str] = field(default_factory=set)
    """The keys of the stages that were made here, and not found."""

    def stage(
        self, name: str, *, settings: Mapping[str, object], inputs: Mapping[str, Finished], work: Work
    ) -> Finished:
        """The finished stage: found, or made now.

        Args:
            name: of the stage; part of its folder's name.
            settings: plain data, everything that changes the result and is not in `inputs`.
            inputs: the stages this one reads.
            work: makes it. Called at most once, and not at all where the stage is found.

        Raises:
            StoreError: if another process is making this very stage and it is not to be waited for, the disk is
                full, or files of the found stage are missing.
        """
        keys = {label: stage.key for label, stage in inputs.items()}
        key = content_key({"stage": name, "settings": settings, "inputs": keys, "format": FORMAT})
        final = self.root / f"{name}-{key}"
        if final.exists():
            return open_stage(final)
        make_folder(self.root)
        alone = _in_turn if self.wait else _alone
        with room_on(self.root), alone(self.root / f".{name}-{key}.lock"):
            if final.exists():  # another process finished it between the first look and the lock
                return open_stage(final)
            partial = self.root / f"{name}-{key}.partial"
            partial.mkdir(exist_ok=True)
            for half in list(partial.rglob(".*")):  # files and folders that a killed attempt did not finish
                if half.is_dir():
                    shutil.rmtree(half)
                else:
                    half.unlink(missing_ok=True)  # it may have been in such a folder
            started = time.monotonic()
            facts = work(partial)
            manifest = Manifest(
                stage=name,
                key=key,
                settings=settings,
                inputs=keys,
                files=checksums(partial),
                facts=facts,
                seconds=round(max(time.monotonic() - started, cast(float, facts.get("seconds", 0.0))), 3),
                versions={library: version(library) for library in LIBRARIES},
            )
            write_json(partial / MANIFEST, asdict(manifest))
            publish(partial, final)
            self.made.add(key)
        return replace(open_stage(final), reused=False)  # read back: facts are the same JSON now and on reuse

    def found(self, name: str, *, settings: Mapping[str, object], inputs: Mapping[str, Finished]) -> list[Finished]:
        """The finished stages that were made from `inputs` and have these settings, whatever others they have.

        Raises:
            StoreError: if files of one are missing.
        """
        wanted = {"inputs": {label: stage.key for label, stage in inputs.items()}, "settings": settings}
        asked = content_key(wanted)
        return [
            open_stage(path.parent)
            for path in sorted(self.root.glob(f"{name}-{KEY}/{MANIFEST}"))
            if content_key(_like(wanted, read_json(path))) == asked
        ]


def _like(wanted: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, object]:
    """What a manifest says of that which is wanted."""
    own: dict[str, object] = manifest["settings"]
    return {"inputs": manifest["inputs"], "settings": {name: own.get(name) for name in wanted["settings"]}}


def open_stage(folder: Path) -> Finished:
    """A stage somebody finished.

    Raises:
        StoreError: if the folder holds no manifest, or files it names are gone.
    """
    plain: dict[str, Any] = read_json(folder / MANIFEST)
    manifest = Manifest(**plain)
    gone = [name for name in manifest.files if not (folder / name).is_file()]
    if gone:
        raise StoreError(
            f"{folder} lacks {len(gone)} of its {len(manifest.files)} files (first: {gone[0]}); "
            "delete the folder and give the same command again to make it anew"
        )
    return Finished(folder, manifest, reused=True)


def part_of(stage: Finished, key: str) -> Finished | None:
    """The stage of that key which `stage` was made from; None where somebody has deleted it."""
    return next((open_stage(folder) for folder in stage.folder.parent.glob(f"*-{key}")), None)


def content_key(value: object) -> str:
    """Sixteen hexadecimal digits that are equal for equal plain data."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Holds a lock file while the work inside is done; false where another process holds it.

    Args:
        path: of the lock file; its folder exists. Gone once the work is done, left behind where it failed.
        wait: until nobody else holds it, so that the answer is always true.
    """
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))  # a dead process holds nothing
                held = True
            except BlockingIOError:
                held = False
            # Who held it before took the file away: a lock on it would keep nobody out.
            if held and not _is_there(path, file.fileno()):
                continue
            yield held
            if held:
                path.unlink(missing_ok=True)
            return


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with claim(path) as held:
        if not held:
            raise StoreError(
                f"another process is making {path.name.strip('.').removesuffix('.lock')} in {path.parent}; "
                "wait for it and give the same command again, or name another folder with --out"
            )
        yield


@contextmanager
def _in_turn(path: Path) -> Iterator[None]:
    with claim(path, wait=True):
        yield
