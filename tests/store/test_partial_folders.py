"""The folders in which stages are made: their permissions, and what a killed attempt leaves in them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.toy_stages import Text, WordFacts

from understudy.errors import StoreError
from understudy.store import Stage, Store, WorkerContext
from understudy.store.manifest import MANIFEST
from understudy.store.store import make


@dataclass(frozen=True)
class OwnersOnly(Stage[WordFacts]):
    """Makes a folder and a file that only their owner can read."""

    name: ClassVar[str] = "owners_only"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """As safetensors does."""
        (folder / "below").mkdir(mode=0o700)
        (folder / "below" / "weights").touch(mode=0o600)
        return WordFacts(0)


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0, 0o666, 0o777)])
def test_files_have_the_permissions_of_the_umask(
    store: Store, context: WorkerContext, umask: int, file: int, folder: int
) -> None:
    """Also those of libraries that make files for their owner alone."""
    before = os.umask(umask)
    try:
        make(OwnersOnly(), context)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.folder(OwnersOnly()).rglob("*")}

    assert modes == {"below": folder, "weights": file, MANIFEST: file}


def test_a_file_in_place_of_an_unfinished_stage_is_named(store: Store, context: WorkerContext) -> None:
    """The message says what to delete."""
    stage = Text("a")
    store.root.mkdir(parents=True)
    partial = store.root / f"{stage.folder_name}.partial"
    partial.write_text("a file")

    with pytest.raises(StoreError, match=rf"{partial} stands in the way.*delete {partial}"):
        make(stage, context)


@pytest.mark.parametrize("name", ["manifest.json", ".hidden", ".hidden/.below"])
def test_folders_of_a_killed_attempt_are_deleted(store: Store, context: WorkerContext, name: str) -> None:
    """Whatever stands where a file is expected."""
    stage = Text("a")
    (store.root / f"{stage.folder_name}.partial" / name / "x").mkdir(parents=True)
    make(stage, context)

    assert {path.name for path in store.folder(stage).iterdir()} == {"below", MANIFEST}
