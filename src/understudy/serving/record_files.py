"""The files of records: appended by one process, read while they grow, rewritten where records are deleted.

    DIR/records-2026-11-28-1f0c9a3b.jsonl     the lines of one day (UTC) and one process

A line is a record, or a repetition: an id with the digest of an earlier record of equal texts, and no texts of its own.
A killed process leaves at most one truncated line, the last of its file. Folder and files are the owner's alone.
"""

import errno
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

from understudy.errors import DataError, StoreError, shortened
from understudy.tasks.json_values import json_value

RECORD_FILE = re.compile(r"\.?records-(\d{4}-\d\d-\d\d)-[0-9a-f]{8}\.jsonl(\.partial)?")
"""Files of records, and those that an interrupted deletion leaves."""
OWNER_FILE, OWNER_FOLDER, OTHERS = 0o600, 0o700, 0o077
MOST_NAMED = 5
"""Unknown ids that a message names."""


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line of a file."""

    where: str
    """The file and the line in it, for messages."""
    raw: bytes
    values: Mapping[str, object] | None
    """None for a truncated line."""

    @property
    def is_record(self) -> bool:
        """Whether it has texts; repetitions have none."""
        return self.values is not None and "request" in self.values

    @property
    def digest(self) -> object:
        """Equal for equal texts."""
        return (self.values or {}).get("digest")


@dataclass(frozen=True)
class Deleted:
    """What a deletion removed."""

    records: int
    repetitions: int


class DayFile:
    """The file to which a process appends on one day; another one on the next day, and after a deletion."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = uuid4().hex[:8]  # process ids are equal in every container
        self._path = folder
        self._fd: int | None = None

    @contextmanager
    def locked(self, day: date) -> Iterator[tuple[int, bool]]:
        """The day's file, which nobody rewrites within the context.

        Yields:
            Its descriptor, and whether it was opened anew, so that it may lack what was written before.
        """
        path = self._folder / f"records-{day}-{self._process}.jsonl"
        fd, is_new = self._fd, False
        while fd is None or self._path != path or not _locked_as(fd, path):
            self.close()
            fd = self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE)
            self._path, is_new = path, True
        try:
            yield fd, is_new
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes the file, if one is open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def append(fd: int, line: bytes) -> None:
    """Appends a line to a locked file, completely or not at all.

    Raises:
        OSError: if the disk is full or failed.
    """
    size = os.fstat(fd).st_size
    written = 0
    try:
        written = os.write(fd, line)
    finally:
        if written < len(line):
            os.ftruncate(fd, size)
    if written < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def make_record_folder(folder: Path) -> None:
    """Makes the folder, which its owner alone may read.

    Raises:
        StoreError: if it cannot be made, or exists and is open to others.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=OWNER_FOLDER)
        mode = folder.stat().st_mode
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); give --keep-texts another folder") from None
    if mode & OTHERS:
        raise StoreError(
            f"{folder} is to hold texts and other users may open it (mode {mode & 0o777:o}); chmod 700 {folder}, or "
            "give --keep-texts a new folder"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{folder} cannot be written; give --keep-texts a folder of your own")


def is_record_file(path: Path) -> bool:
    """Whether a path has the name of a file of records."""
    return RECORD_FILE.fullmatch(path.name) is not None and path.name.endswith(".jsonl") and path.name[0] != "."


def record_files(path: Path) -> list[Path]:
    """The files of a folder of records by day, or the file itself.

    Raises:
        DataError: if there is no such folder, or no file of records in it.
    """
    try:
        found = [path] if path.is_file() else sorted(filter(is_record_file, path.iterdir()))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give the folder of --keep-texts") from None
    if not found:
        raise DataError(f"{path} holds no records (records-DATE-*.jsonl); give the folder of --keep-texts")
    return found


def stored_lines(path: Path) -> Iterator[StoredLine]:
    """The lines of a file, which may grow meanwhile.

    Raises:
        DataError: for a line that is neither the truncated last one nor a record.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                where = f"{path} line {number}"
                whole = raw.endswith(b"\n")  # without it, its process was killed or is still writing
                yield StoredLine(where, raw, _values(raw, where) if whole else None)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def delete_records(folder: Path, ids: Collection[str]) -> Deleted:
    """Deletes the texts of some requests: their records, and all others of equal texts with their repetitions.

    Files are rewritten under their lock and renamed, so a process that appends to them goes on with the new file. A
    truncated line is deleted with the rest: it may be of such a request.

    Raises:
        DataError: if no line has one of the ids; then nothing is deleted.
    """
    paths = record_files(folder)
    digests, known, named = set[object](), set[str](), set[Path]()
    for path in paths:
        for line in stored_lines(path):
            if line.values is not None and (found := str(line.values["id"])) in ids:
                digests.add(line.digest)
                known.add(found)
                named.add(path)
    if unknown := sorted(set(ids) - known):
        shown = ", ".join(map(shortened, unknown[:MOST_NAMED])) + ("..." if len(unknown) > MOST_NAMED else "")
        raise DataError(f"{folder}: no record has the id {shown}; nothing was deleted: give only ids that it has")
    try:
        with _locked_folder(paths[0].parent):
            # The files with the ids come last: until then, an interrupted deletion can be repeated.
            parts = [_without(path, digests) for path in sorted(paths, key=lambda path: path in named)]
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder} cannot be rewritten ({error.strerror}); some records may be there still: make "
            "it writable and run the same command again"
        ) from None
    return Deleted(sum(part.records for part in parts), sum(part.repetitions for part in parts))


def delete_older(folder: Path, first: date) -> None:
    """Deletes the files of the days before `first`."""
    for path in folder.iterdir():
        match = RECORD_FILE.fullmatch(path.name)
        if match and match[1] < first.isoformat():
            path.unlink(missing_ok=True)  # another process deletes them too


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Keeps other deletions out: two that rewrite one file would lose lines that are appended between them."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _locked_as(fd: int, path: Path) -> bool:
    """Locks an open file; whether it is still the one of that name."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _without(path: Path, digests: Collection[object]) -> Deleted:
    """Rewrites a file without the lines of these digests and without a truncated one, if it has any."""
    partial = path.with_name(f".{path.name}.partial")
    deleted = {True: 0, False: 0}
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if all(line.values is not None and line.digest not in digests for line in stored_lines(path)):
            return Deleted(0, 0)
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_FILE), "wb") as new:
            for line in stored_lines(path):
                if line.values is not None and line.digest in digests:
                    deleted[line.is_record] += 1
                elif line.values is not None:
                    new.write(line.raw)
            is_empty = new.tell() == 0
            new.flush()
            os.fsync(new.fileno())
        if is_empty:
            path.unlink()
            partial.unlink()
        else:
            partial.replace(path)
    return Deleted(deleted[True], deleted[False])


def _values(raw: bytes, where: str) -> Mapping[str, object]:
    try:
        values = json_value(raw.decode(), where, remedy="delete the line")
    except UnicodeDecodeError:
        values = None
    if not isinstance(values, Mapping) or "digest" not in values or "id" not in values:
        raise DataError(f"{where}: no record of understudy (an object with id and digest); remove the line")
    return values


def line_of(values: Mapping[str, object]) -> bytes:
    """Values as a line.

    Raises:
        UnicodeEncodeError: if a text holds half a character.
    """
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(", ", ": ")).encode() + b"\n"
