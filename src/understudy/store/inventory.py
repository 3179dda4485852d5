"""What a store holds, who needs it, and garbage collection: deleting what nobody needs."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy.errors import StoreError
from understudy.store.disk import delete, disk_errors
from understudy.store.locks import hold
from understudy.store.manifest import MANIFEST, Manifest, read_manifest
from understudy.store.verify import verify_files

PARTIAL = ".partial"
DELETED = ".deleted-"
"""Beginning of the name of a folder that is being deleted."""
DAY_S = 86400.0


@dataclass(frozen=True)
class StoredStage:
    """A stage in the store, finished or not."""

    folder: Path
    bytes: int
    finished_at: float
    """Seconds since 1970; of an unfinished stage, when its folder changed last."""
    needed_by: tuple[str, ...]
    """Runs and studies, by name."""

    @property
    def finished(self) -> bool:
        """Whether it can be reused; an unfinished one is resumed."""
        return self.folder.suffix != PARTIAL


@dataclass
class Need:
    """The stages that a run or a study names; it also needs what these were made from, and their shards."""

    stages: set[str] = field(default_factory=set)
    interrupted: bool = False
    """Whether it is not finished: what was made of its stages may be shards that no manifest names yet."""


def stored_stages(root: Path, needed: Mapping[str, Need]) -> list[StoredStage]:
    """The stages in a store, the largest first.

    Args:
        root: the folder of the store.
        needed: by the names of runs and studies.

    Raises:
        StoreError: if a manifest is damaged.
    """
    folders = [path for path in root.glob("[!.]*") if path.is_dir()]
    manifests = {path.name: read_manifest(path) for path in folders if (path / MANIFEST).is_file()}
    users: dict[str, list[str]] = {}
    for name, wanted in sorted(needed.items()):
        for stage in _needed_stages(wanted, manifests):
            users.setdefault(stage, []).append(name)
    stages = [_stored(path, tuple(users.get(path.name.removesuffix(PARTIAL), ()))) for path in folders]
    return sorted(stages, key=lambda stage: (-stage.bytes, stage.folder.name))


def damages(root: Path) -> dict[str, str | None]:
    """The folder of each finished stage -> what is wrong with it, in one sentence; None: it is as it was written."""
    finished = sorted(path for path in root.glob("[!.]*") if path.is_dir() and path.suffix != PARTIAL)
    return {path.name: _damage_of(path) for path in finished}


def delete_stages(stages: Iterable[StoredStage], root: Path) -> Iterator[StoredStage]:
    """Deletes stages and yields those that are gone. One that a process is making is left as it is."""
    with disk_errors(root):
        for path in root.glob(f"{DELETED}*"):  # an earlier deletion was interrupted
            delete(path)
        for stage in stages:
            doomed = root / f"{DELETED}{stage.folder.name}"
            try:
                with hold(root / f".{stage.folder.name.removesuffix(PARTIAL)}.lock", wait=False, making=stage.folder):
                    stage.folder.rename(doomed)  # first: half a stage must not look like a finished one
            except StoreError:
                continue
            delete(doomed)
            yield stage


def is_older(stage: StoredStage, days: float) -> bool:
    """Whether a stage was finished, or changed last, more than that many days ago."""
    return time.time() - stage.finished_at >= days * DAY_S


def _needed_stages(need: Need, manifests: Mapping[str, Manifest]) -> set[str]:
    found: set[str] = set()
    stack = list(need.stages)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            if manifest := manifests.get(name):
                stack += [*manifest.inputs.values(), *manifest.shards]
    inputs = {name: set(manifest.inputs.values()) for name, manifest in manifests.items()} if need.interrupted else {}
    return found | {name for name, own in inputs.items() if own and own <= found}


def _damage_of(folder: Path) -> str | None:
    try:
        verify_files(folder)
    except StoreError as error:
        return str(error)
    return None


def _stored(folder: Path, needed_by: tuple[str, ...]) -> StoredStage:
    sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
    last = folder / MANIFEST if (folder / MANIFEST).is_file() else folder
    return StoredStage(folder, sum(sizes), last.stat().st_mtime, needed_by)
