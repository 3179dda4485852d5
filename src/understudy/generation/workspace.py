"""Folders of an engine's own files: conversions that are complete or absent, and folders that are removed after use.

Everything lies in the folder that the caller names, never in the system's temporary folder.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

MARKER = "engine.json"
"""File of a conversion that an engine writes last."""
_HOST = platform.node().replace("-", "_")
_NUMBERS = count()


def convert_once(convert: Callable[[Path, Path], None], checkpoint: Path, folder: Path) -> None:
    """Convert a checkpoint into a folder, unless it holds a complete conversion.

    The conversion is written under a temporary name in the same place and renamed, so the folder is complete or
    absent also after a crash, and of two processes only the first writes it.

    Args:
        convert: writes the conversion of a checkpoint into an empty folder, `MARKER` last.
        checkpoint: what is converted. A complete conversion is taken to be of this checkpoint.
        folder: of the conversion; incomplete content is replaced.
    """
    if is_complete(folder):
        return
    with private_folder(folder.parent, folder.name) as partial:
        convert(checkpoint, partial)
        if not is_complete(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if not is_complete(folder):  # otherwise another process has written it
                raise


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a complete conversion."""
    return (folder / MARKER).is_file()


@contextmanager
def private_folder(parent: Path, stem: str) -> Iterator[Path]:
    """A new, empty folder of this process in `parent`, removed afterwards.

    Those that killed processes of this machine left under the same stem are removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob(f".{stem}-{_HOST}-*-*.partial"):
        if not _is_running(int(path.name.split("-")[-2])):
            shutil.rmtree(path, ignore_errors=True)
    folder = parent / f".{stem}-{_HOST}-{os.getpid()}-{next(_NUMBERS)}.partial"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
