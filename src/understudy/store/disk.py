"""Files that are complete or absent whenever the process is killed: a temporary name, fsync, rename.

This module handles files, folders and JSON. It does not depend on stages.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.errors import StoreError

READ_BYTES = 1 << 20
MEGABYTE = 1e6


def write_text(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, completely or not at all; equal values give equal bytes."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file.

    Raises:
        StoreError: if the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; check that the run finished and that this is its folder") from None
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}); delete its folder and run the same command again") from None
    if not isinstance(value, dict):
        raise StoreError(
            f"{path} holds {type(value).__name__} instead of an object; delete its folder and run the same command "
            "again"
        )
    return value


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, if they do not exist.

    Raises:
        StoreError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); choose another folder with --out") from None


def publish(partial: Path, final: Path) -> None:
    """Renames a finished folder to its final name, after everything in it has been synced to disk."""
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    partial.rename(final)
    _sync(final.parent)


def checksums(folder: Path) -> dict[str, str]:
    """Path inside the folder -> sha256, for every file in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): checksum(path) for path in files}


def checksum(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raises a full disk, whichever library noticed it, as one sentence.

    Raises:
        StoreError: when anything inside failed because no space is left.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError) or not _is_full(error):
            raise
        free = shutil.disk_usage(folder).free / MEGABYTE
        raise StoreError(
            f"the disk is full: {free:.0f} MB are left for {folder}; free some space and run the same command again "
            "to resume: finished stages are kept"
        ) from error


def _is_full(error: BaseException | None) -> bool:
    # safetensors reports the system's error in words only; torch raises another one while it closes the file.
    while error is not None:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "os error 28" in str(error):
            return True
        error = error.__context__
    return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
