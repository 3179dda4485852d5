"""What runs on a machine of a Ray cluster: makes one stage in the shared store.

It uses nothing of Ray. Progress goes through a file in the shared store, one JSON line per message, which the caller
reads while the stage runs; the outcome is what the task returns.
"""

import json
import pickle
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.executors._memory import return_freed_memory
from understudy.executors._worker import Measurements, Message, MessageProgress, make_pickled
from understudy.progress import SILENT
from understudy.store.stage import WorkerContext
from understudy.store.store import LIBRARIES, Outcome, Store


@dataclass(frozen=True)
class Work:
    """A stage for a machine of the cluster."""

    stage: bytes
    """Pickled."""
    title: str
    store: Store
    """With an absolute path."""
    allow_code: bool
    versions: Mapping[str, str]
    """Of the libraries of the caller."""
    progress: Path
    """The file for messages, in a folder of the store that the caller made."""


def make_here(work: Work) -> bytes:
    """Makes the stage; returns the pickled outcome."""
    outcome = _refusal(work) or _make(work)
    return pickle.dumps(outcome)


def library_versions() -> dict[str, str]:
    """Of the libraries that decide results, in this process."""
    return {library: version(library) for library in LIBRARIES}


def new_messages(file: Path, read: int) -> tuple[Sequence[str | Measurements], int]:
    """The messages of a file after the first `read` bytes, and the bytes that are read now: whole lines."""
    try:
        with file.open("rb") as lines:
            lines.seek(read)
            text = lines.read()
    except FileNotFoundError:  # nothing was written yet
        return [], read
    whole = text[: text.rfind(b"\n") + 1]
    return [_parsed(line) for line in whole.splitlines()], read + len(whole)


def _make(work: Work) -> Outcome:
    def append(message: Message) -> None:
        # Opened for each message: on NFS another machine sees what was written once the file is closed.
        with work.progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message if isinstance(message, str) else vars(message)) + "\n")

    context = _context(work.store, work.allow_code)
    return make_pickled(work.stage, replace(context, progress=MessageProgress(append)))


@cache
def _context(store: Store, allow_code: bool) -> WorkerContext:
    """One per process, so that the next shard finds the engine open."""
    return_freed_memory()
    return WorkerContext(store, SILENT, allow_code)


def _refusal(work: Work) -> UnderstudyError | None:
    """Why this machine may not make the stage."""
    here = platform.node()
    if not work.progress.parent.is_dir():
        return UnderstudyError(
            f"{work.title}: the machine {here} does not see the folder {work.progress.parent} that the caller made; "
            "mount the folder of the run on every machine under the same path (docs/cluster.md)"
        )
    for library, wanted in work.versions.items():
        if (found := version(library)) != wanted:
            return UnderstudyError(
                f"{work.title}: the machine {here} has {library} {found} and the caller {wanted}, so results would "
                "depend on the machine; install the same versions on every machine of the cluster"
            )
    return None


def _parsed(line: bytes) -> str | Measurements:
    plain = json.loads(line)
    return plain if isinstance(plain, str) else Measurements(**plain)
