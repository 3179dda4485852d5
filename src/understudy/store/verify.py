"""Verifies finished stages when they are read: their files are those of their manifests, byte by byte.

A small file is read whenever its stage is; a large one once per process, and again when its size or time changed.
Times are not compared with those of the manifest, so a copied store stays valid.
"""

from pathlib import Path

from understudy.errors import StoreError
from understudy.store.disk import checksum
from understudy.store.manifest import MANIFEST, Manifest, read_manifest

SMALL_BYTES = 1 << 20
_VERIFIED: dict[Path, tuple[int, int, int]] = {}
"""Large file -> its inode, size and time when this process read it."""


def verified(folder: Path) -> Path:
    """The folder of a finished stage, after its files and those of its shards were compared with the manifests.

    Raises:
        StoreError: if the stage or a shard was deleted or is damaged; it names the folder to delete.
    """
    for shard in verify_files(folder).shards:
        verified(folder.parent / shard)
    return folder


def verify_files(folder: Path) -> Manifest:
    """The manifest of a finished stage, after its own files were compared with it.

    Raises:
        StoreError: if the stage was deleted or is damaged; it names the folder to delete.
    """
    if not (folder / MANIFEST).exists():
        if folder.exists():
            raise StoreError(
                f"{folder} is damaged: its {MANIFEST} is missing; delete the folder and run the recipe again"
            )
        raise StoreError(
            f"the stage {folder.name} is not in {folder.parent}: it was deleted, or never finished; run the recipe "
            "again to make it"
        )
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        _verify_file(folder, name, expected)
    return manifest


def _verify_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    try:
        status = path.stat()
        state = status.st_ino, status.st_size, status.st_mtime_ns
        if status.st_size > SMALL_BYTES and _VERIFIED.get(path) == state:
            return
        found = checksum(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); make it readable, or delete the folder {folder} and run the "
            "recipe again"
        ) from None
    if found != expected:
        raise StoreError(
            f"{path} is damaged: its {status.st_size} bytes have the sha256 {found[:12]}..., and the manifest of the "
            f"stage {folder.name} says {expected[:12]}...; delete the folder {folder} and run the recipe again"
        )
    _VERIFIED[path] = state
