"""Files that are complete or absent whenever the process is killed: a temporary name, fsync, rename.

This module handles files, folders and JSON. It does not depend on stages.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.errors import StoreError, first_line

READ_BYTES = 1 << 20
MEGABYTE = 1e6
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_text(path: Path, text: str) -> None:
    """Writes a file completely or not at all.

    Raises:
        StoreError: if a folder has its name.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        partial.replace(path)
    except IsADirectoryError:
        partial.unlink()
        raise StoreError(
            f"{path} is a folder, and a file of this name is written; move it away and run the same command again"
        ) from None


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, completely or not at all; equal values give equal bytes."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file.

    Raises:
        StoreError: if the file is missing, unreadable or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; check that the run finished and that this is its folder") from None
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); make it readable, or delete the folder {path.parent} and run "
            "the recipe again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} is not JSON ({first_line(error)}); delete the folder {path.parent} and run the recipe again"
        ) from None
    if not isinstance(value, dict):
        raise StoreError(
            f"{path} holds {type(value).__name__} instead of an object; delete the folder {path.parent} and run the "
            "recipe again"
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
        raise StoreError(
            f"{folder} cannot be made ({error.strerror}); choose another name, or another folder with --out"
        ) from None


def publish(partial: Path, final: Path) -> None:
    """Renames a finished folder to its final name, after everything in it has been synced to disk.

    Its files get the permissions that the umask gave to the folder: some libraries make files that only their owner can
    read.
    """
    allowed = stat.S_IMODE(partial.stat().st_mode)
    for path in (*partial.rglob("*"), partial):
        mode = allowed if path.is_dir() else allowed & 0o666
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
        _sync(path)
    partial.rename(final)
    _sync(final.parent)


def delete(path: Path) -> None:
    """Deletes a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    """Raises a full or read-only disk, whichever library noticed it, as one sentence.

    Raises:
        StoreError: when anything inside failed because no space is left, or because `folder` cannot be written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError):
            raise
        if _is_full(error):
            free = shutil.disk_usage(folder).free / MEGABYTE
            raise StoreError(
                f"the disk is full: {free:.0f} MB are left for {folder}; free some space and run the same command "
                "again to resume: finished stages are kept"
            ) from error
        if isinstance(error, OSError) and error.errno in READ_ONLY and _lies_in(error.filename, folder):
            raise StoreError(
                f"{error.filename} cannot be written ({error.strerror}); make {folder} writable, or choose another "
                "folder with --out"
            ) from error
        raise


def _is_full(error: BaseException | None) -> bool:
    # safetensors reports the system's error in words only; torch raises another one while it closes the file.
    while error is not None:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "os error 28" in str(error):
            return True
        error = error.__context__
    return False


def _lies_in(path: object, folder: Path) -> bool:
    return isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(folder.absolute())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
