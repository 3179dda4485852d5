"""Stores: finished stages are read as they were made, damaged ones are refused or made again."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from scripts.fuzzing.damages import STAGE_GONE, Damage, damages
from scripts.fuzzing.oracle import FAST_FOLDER, VALID, Case, Domain
from scripts.fuzzing.texts import Draw
from tests.store.toy_stages import Text, Words

from understudy.errors import StoreError
from understudy.executors.local import Local
from understudy.progress import NoProgress
from understudy.store import Stage, Store, WorkerContext
from understudy.store.copy import copy_stages
from understudy.store.inventory import damages as damages_of
from understudy.store.inventory import stored_stages
from understudy.store.manifest import MANIFEST
from understudy.store.verify import verified

STORE, COPY = "store", "copy"
FIRST = Text("one two")
SECOND = Text("three", (FIRST,))
STAGES: tuple[Stage[Any], ...] = (FIRST, SECOND, Words(SECOND))


@functools.cache
def intact() -> Path:
    """A finished store, made once per process; the folder is deleted when the process ends."""
    folder = tempfile.TemporaryDirectory(dir=FAST_FOLDER)
    atexit.register(folder.cleanup)
    root = Path(folder.name) / STORE
    make(root)
    return root


def content_of(root: Path) -> dict[str, object]:
    """All files of a store; of manifests, what does not depend on when a stage was made."""
    found: dict[str, object] = {}
    for path in sorted(path for path in root.rglob("[!.]*") if path.is_file()):
        name = str(path.relative_to(root))
        found[name] = path.read_bytes()
        if path.name == MANIFEST:
            values = json.loads(path.read_bytes())
            found[name] = {key: value for key, value in values.items() if key not in ("seconds", "checksum")}
    return found


def make(root: Path) -> object:
    """A run: what is missing is made, then every stage is read."""
    store = Store(root)
    context = WorkerContext(store, NoProgress())
    for outcome in store.get_all(STAGES, Local(), context).values():
        if isinstance(outcome, Exception):
            raise outcome
    for stage in STAGES:
        context.facts(stage)
        context.folder(stage)
    return content_of(root)


def verify(root: Path) -> object:
    """Every stage is verified."""
    for path in sorted(intact().glob("[!.]*")):
        verified(root / path.name)
    return content_of(root)


def check(root: Path) -> object:
    """What `understudy store check` reads."""
    for sentence in damages_of(root).values():
        if sentence is not None:
            raise StoreError(sentence)
    stored_stages(root, {})
    return content_of(root)


def copy(root: Path) -> object:
    """The stages are copied into another store."""
    copies = copy_stages({stage.folder_name: root / stage.folder_name for stage in STAGES}, root.with_name(COPY))
    for path in copies.values():
        verified(path)
    return content_of(root.with_name(COPY))


READERS: dict[str, Callable[[Path], object]] = {reader.__name__: reader for reader in (make, verify, check, copy)}


def deleted_stage(root: Path, name: str) -> None:
    """A stage without a folder."""
    shutil.rmtree(root / name)


def interrupted_stage(root: Path, name: str) -> None:
    """What a killed process leaves: half of a file, a temporary file, a manifest that is not in its place."""
    partial = root / f"{name}.partial"
    (root / name).rename(partial)
    (partial / ".text.txt.partial").write_bytes(b"zz")


def stage_of_another_name(root: Path, name: str) -> None:
    """The content of another stage."""
    other = next(path.name for path in sorted(root.glob("[!.]*")) if path.name != name)
    shutil.rmtree(root / name)
    shutil.copytree(root / other, root / name)


def manifest_of_another_stage(root: Path, name: str) -> None:
    """A manifest that is intact and describes another stage."""
    other = next(path.name for path in sorted(root.glob("[!.]*")) if path.name != name)
    shutil.copy(root / other / MANIFEST, root / name / MANIFEST)


STAGE_FAULTS: dict[str, tuple[Callable[[Path, str], None], tuple[str, ...]]] = {
    "a deleted stage": (deleted_stage, ("make", "verify", "copy")),
    "an interrupted stage": (interrupted_stage, ("make", "verify", "copy")),
    "a stage of another name": (stage_of_another_name, tuple(READERS)),
    "a manifest of another stage": (manifest_of_another_stage, tuple(READERS)),
}
"""Fault -> how it is made, and the readers that must find it."""


@st.composite
def stores(draw: Draw) -> Case:
    """A store with at most one fault."""
    files = [str(path.relative_to(intact())) for path in sorted(intact().rglob("[!.]*")) if path.is_file()]
    names = sorted(path.name for path in intact().glob("[!.]*"))
    fault = draw(st.sampled_from([VALID, *STAGE_FAULTS]) | damages(files))
    if isinstance(fault, Damage):
        label, harm, name = fault.label(intact()), fault.apply, fault.file
        # A check does not know which stages there should be.
        readers = tuple(name for name in READERS if name != "check" or fault.kind != STAGE_GONE)
    elif fault == VALID:
        label, harm, readers, name = VALID, lambda root: None, tuple(READERS), ""
    else:
        name = draw(st.sampled_from(names))
        label, (change, readers) = fault, STAGE_FAULTS[fault]

        def harm(root: Path) -> None:
            change(root, name)

    reader = draw(st.sampled_from(readers))

    def read(folder: Path) -> object:
        root = folder / STORE
        shutil.copytree(intact(), root)
        harm(root)
        return READERS[reader](root)

    return Case(label, read, content_of(intact()), (fault, name, reader), may_be_repaired=True)


DOMAIN = Domain("stores", stores())
