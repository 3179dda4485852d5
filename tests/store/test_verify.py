"""A finished stage is verified when its folder is handed out: what was damaged or deleted is not used."""

import os
import shutil
from pathlib import Path

import pytest
from tests.store.toy_stages import TEXT, Text, Words

from understudy.errors import StoreError
from understudy.executors.local import Local
from understudy.store import Content, Store, WorkerContext
from understudy.store.manifest import MANIFEST, read_checked, read_manifest, write_checked
from understudy.store.store import make
from understudy.store.verify import SMALL_BYTES, verified

LOCAL = Local()


@pytest.mark.parametrize("damage", [b"b", b"", b"aa", b"A"])
def test_a_changed_file_is_refused(store: Store, context: WorkerContext, damage: bytes) -> None:
    """Also one of the same length; the message names the file, its stage and the way out."""
    stage = Text("a")
    make(stage, context)
    assert context.folder(stage) == store.folder(stage)
    (store.folder(stage) / TEXT).write_bytes(damage)

    message = rf"{TEXT} is damaged.*{len(damage)} bytes.*delete the folder .*{stage.folder_name} and run the recipe"
    with pytest.raises(StoreError, match=message):
        context.folder(stage)
    with pytest.raises(StoreError, match=message):
        context.path(Content("any", f"{stage.folder_name}/{TEXT}"))


def test_a_stage_that_reads_a_damaged_one_is_not_made(store: Store, context: WorkerContext) -> None:
    """The damaged stage is named; after its folder was deleted, both are made."""
    before = Text("a")
    make(before, context)
    (store.folder(before) / TEXT).write_text("b")
    stage = Text("c", (before,))

    with pytest.raises(StoreError, match=before.folder_name):
        store.get(stage, LOCAL, context)
    shutil.rmtree(store.folder(before))
    store.get(stage, LOCAL, context)
    assert (context.folder(stage) / TEXT).read_text() == "a c"


def test_large_files_are_read_once_per_process_and_again_when_they_change(store: Store, context: WorkerContext) -> None:
    """Size and time are compared always; only bytes that change without both are found by the next process."""
    stage = Text("x" * (SMALL_BYTES + 1))
    make(stage, context)
    path = context.folder(stage) / TEXT
    status, damaged = path.stat(), "y" + "x" * SMALL_BYTES
    path.write_text(damaged)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert context.folder(stage)

    path.touch()
    with pytest.raises(StoreError, match=f"{TEXT} is damaged"):
        context.folder(stage)
    path.write_text(damaged[1:])
    with pytest.raises(StoreError, match=f"{SMALL_BYTES} bytes"):
        context.folder(stage)


def test_a_copied_store_stays_valid(store: Store, context: WorkerContext, tmp_path: Path) -> None:
    """Times and inodes of the copy are others."""
    stage = Text("x" * (SMALL_BYTES + 1))
    make(stage, context)
    shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)

    assert verified(tmp_path / "copy" / stage.folder_name)
    assert Store(tmp_path / "copy").finished(stage)


def test_shards_are_verified_with_their_stage(store: Store, context: WorkerContext) -> None:
    """One that was changed or deleted is named."""
    stage = Words(Text("a bc"))
    store.get(stage, LOCAL, context)
    first, second = (store.root / name for name in store.manifest(stage).shards)
    (second / "word.txt").write_text("bd")

    with pytest.raises(StoreError, match=rf"{second.name}.*is damaged"):
        context.folder(stage)
    shutil.rmtree(first)
    with pytest.raises(StoreError, match=rf"{first.name} is not in .*run the recipe again"):
        context.folder(stage)


def test_a_manifest_with_another_number_is_refused(store: Store, context: WorkerContext) -> None:
    """Facts have no file of their own: the manifest has a checksum."""
    stage = Text("a")
    make(stage, context)
    path = store.folder(stage) / MANIFEST
    path.write_text(path.read_text().replace('"characters": 1', '"characters": 2'))

    with pytest.raises(StoreError, match=rf"{stage.folder_name}.*damaged.*delete the folder .* run the recipe again"):
        context.facts(stage)


def test_a_manifest_of_an_earlier_version_has_no_checksum_and_is_accepted(store: Store, context: WorkerContext) -> None:
    """Its files are verified as others are."""
    stage = Text("a")
    make(stage, context)
    path = store.folder(stage) / MANIFEST
    lines = [line for line in path.read_text().splitlines() if '"checksum"' not in line]
    path.write_text("\n".join(lines))

    assert context.facts(stage).characters == 1
    (store.folder(stage) / TEXT).write_text("b")
    with pytest.raises(StoreError, match=f"{TEXT} is damaged"):
        context.folder(stage)


def test_a_manifest_whose_checksum_lost_its_name_is_refused(store: Store, context: WorkerContext) -> None:
    """One damaged byte must not switch the verification off."""
    stage = Text("a")
    make(stage, context)
    path = store.folder(stage) / MANIFEST
    path.write_text(path.read_text().replace('"checksum"', '"checkrum"'))

    with pytest.raises(StoreError, match=rf"{stage.folder_name} is damaged.*delete the folder and run the recipe"):
        context.facts(stage)


def test_the_folder_of_another_stage_is_refused(store: Store, context: WorkerContext) -> None:
    """A copy under a wrong name is intact in itself, and is not the result that its name says."""
    stage, other = Text("a"), Text("b")
    make(stage, context)
    make(other, context)
    shutil.rmtree(store.folder(stage))
    shutil.copytree(store.folder(other), store.folder(stage))

    for read in (context.facts, context.folder):
        with pytest.raises(StoreError, match=rf"{stage.folder_name} holds .* {other.folder_name}; delete the folder"):
            read(stage)


def test_values_with_numbers_as_keys_keep_their_checksum(tmp_path: Path) -> None:
    """JSON has only text as keys, which sorts in another order."""
    write_checked(tmp_path / "a.json", {"facts": {2: 0.1, 10: float("inf")}})

    assert read_checked(tmp_path / "a.json") == {"facts": {"2": 0.1, "10": float("inf")}}


def test_an_unreadable_file_is_named(store: Store, context: WorkerContext) -> None:
    """A folder in its place has no bytes; the reason is the system's."""
    stage = Text("a")
    make(stage, context)
    path = store.folder(stage) / MANIFEST
    content = path.read_bytes()
    path.unlink()
    path.mkdir()

    with pytest.raises(StoreError, match=r"manifest\.json cannot be read \(Is a directory\).*delete the folder"):
        read_manifest(store.folder(stage))
    path.rmdir()
    path.write_bytes(content)
    assert read_manifest(store.folder(stage)).stage == "text"
