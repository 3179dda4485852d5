"""Small stages for the tests of the store and of the executors.

They are defined in a module of their own, so that a worker process can import them.
"""

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from understudy.errors import DataError
from understudy.store import Content, Stage, WorkerContext
from understudy.store.disk import checksum

TEXT = "below/text.txt"
AnyStage = Stage[Any]


@dataclass(frozen=True)
class TextFacts:
    """What a text stage found out."""

    characters: int
    words: tuple[str, ...]
    share: float
    by_length: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Text(Stage[TextFacts]):
    """Writes the texts of its inputs, then its own."""

    text: str
    inputs: tuple[AnyStage, ...] = ()
    name: ClassVar[str] = "text"

    def run(self, folder: Path, context: WorkerContext) -> TextFacts:
        """Writes the file."""
        before = [(context.folder(one) / TEXT).read_text() for one in self.inputs]
        text = " ".join([*before, self.text])
        (folder / TEXT).parent.mkdir(exist_ok=True)
        with context.progress.track(f"writing {self.text}", 4, "part") as advance:
            (folder / TEXT).write_text(text)
            advance(2, "half")
            advance(0, values={"letters": len(text)})
            advance(2)
        words = tuple(text.split())
        return TextFacts(len(text), words, 1 / 3, {len(word): (word,) for word in words})


@dataclass(frozen=True)
class WordFacts:
    """Of one word."""

    letters: int


@dataclass(frozen=True)
class Word(Stage[WordFacts]):
    """One word of a file: a shard."""

    file: Content
    index: int
    name: ClassVar[str] = "word"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Copies the word."""
        word = context.path(self.file).read_text().split()[self.index]
        (folder / "word.txt").write_text(word)
        return WordFacts(len(word))


@dataclass(frozen=True)
class Words(Stage[WordFacts]):
    """All words of a text; each is a shard that is named once the text is finished."""

    text: Text
    name: ClassVar[str] = "words"

    def shards(self, context: WorkerContext) -> Sequence[Word]:
        """One for each word."""
        file = context.folder(self.text) / TEXT
        content = Content(checksum(file), str(file.relative_to(context.store.root)))
        return [Word(content, index) for index in range(len(file.read_text().split()))]

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Adds the letters of the shards."""
        return WordFacts(sum(context.facts(shard).letters for shard in self.shards(context)))


@dataclass(frozen=True)
class Refused(Stage[WordFacts]):
    """Fails with a sentence."""

    inputs: tuple[AnyStage, ...] = ()
    name: ClassVar[str] = "refused"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Raises an error that a user can fix."""
        raise DataError("line 7 has no source; add one")


class TwoPartError(Exception):
    """An exception that cannot be unpickled: its arguments are not those of its constructor."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class TwoPartSentenceError(TwoPartError, DataError):
    """The same as an error of the project."""


@dataclass(frozen=True)
class Bug(Stage[WordFacts]):
    """Fails with an exception that cannot be unpickled."""

    expected: bool = False
    name: ClassVar[str] = "bug"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Raises an exception of another library, or one of the project."""
        raise (TwoPartSentenceError if self.expected else TwoPartError)("one", "two")


@dataclass(frozen=True)
class Killed(Stage[WordFacts]):
    """Is killed while it works."""

    name: ClassVar[str] = "killed"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Kills its own process."""
        context.progress.log("about to end")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Interrupted(Stage[WordFacts]):
    """Gets the signal of Ctrl-C while it works."""

    name: ClassVar[str] = "interrupted"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Sends the signal to its own process."""
        os.kill(os.getpid(), signal.SIGINT)
        return WordFacts(1)


@dataclass(frozen=True)
class Endless(Stage[WordFacts]):
    """Writes the number of its process to standard output and never ends."""

    number: int
    name: ClassVar[str] = "endless"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Waits for a signal."""
        os.write(1, f"{os.getpid()}\n".encode())
        while True:
            signal.pause()


@dataclass(frozen=True)
class ProcessFacts:
    """Where a stage ran."""

    process: int
    threads: str | None
    opened: int


OPENED: list[str] = []
"""What was opened in this process."""
CLOSED: list[str] = []
"""What was closed."""


@contextmanager
def engine(name: str) -> Iterator[int]:
    """Gives how many were opened in this process so far."""
    OPENED.append(name)
    yield len(OPENED)
    CLOSED.append(name)


@dataclass(frozen=True)
class Where(Stage[ProcessFacts]):
    """Notes the process it runs in."""

    engine: str = "a"
    inputs: tuple[AnyStage, ...] = ()
    name: ClassVar[str] = "where"

    def run(self, folder: Path, context: WorkerContext) -> ProcessFacts:
        """Reads the process's number, its variable for threads, and how many engines it has opened."""
        opened = context.reuse(self.engine, lambda: engine(self.engine))
        return ProcessFacts(os.getpid(), os.environ.get("OMP_NUM_THREADS"), opened)


@dataclass(frozen=True)
class WhereCalled(Where):
    """The same in the calling process."""

    name: ClassVar[str] = "where_called"
    in_caller: ClassVar[bool] = True


@dataclass(frozen=True)
class WhereAlone(WhereCalled):
    """The same while no worker is busy."""

    name: ClassVar[str] = "where_alone"
    alone: ClassVar[bool] = True


@dataclass(frozen=True)
class Verbose(Stage[WordFacts]):
    """Reports many lines of progress."""

    lines: int
    pipe: str
    """Path of a named pipe to which it writes when all lines are sent."""
    name: ClassVar[str] = "verbose"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Logs them."""
        for number in range(self.lines):
            context.progress.log(f"line {number}")
        Path(self.pipe).write_text("sent")
        return WordFacts(self.lines)


@dataclass(frozen=True)
class Waiting(Stage[WordFacts]):
    """Occupies the calling process until something is written to a named pipe."""

    pipe: str
    name: ClassVar[str] = "waiting"
    in_caller: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Waits at most five minutes: a test that hangs must end."""
        descriptor = os.open(self.pipe, os.O_RDWR)
        try:
            readable, _, _ = select.select([descriptor], [], [], 300)
        finally:
            os.close(descriptor)
        if not readable:
            raise DataError("nothing was written to the pipe")
        return WordFacts(0)


@dataclass(frozen=True)
class KilledOnce(Stage[WordFacts]):
    """Is killed while it works, and goes on from what it had written."""

    name: ClassVar[str] = "killed_once"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Kills its own process in the first attempt, once half of the file is written."""
        half = folder / "half.txt"
        if not half.exists():
            half.write_text("first half")
            context.progress.log("half is written")
            os.kill(os.getpid(), signal.SIGKILL)
        context.progress.log(f"found the {half.read_text()}")
        return WordFacts(1)


@dataclass(frozen=True)
class Meeting(Stage[WordFacts]):
    """Ends only while others run at the same time."""

    number: int
    place: str
    """A folder in which each leaves a file with the number of its process."""
    others: int
    name: ClassVar[str] = "meeting"

    def run(self, folder: Path, context: WorkerContext) -> WordFacts:
        """Waits at most five minutes for that many files."""
        own = Path(self.place, f"{self.number}-{os.getpid()}")
        own.with_suffix(".partial").write_text("")
        own.with_suffix(".partial").rename(own)
        deadline = time.monotonic() + 300
        while len([path for path in Path(self.place).iterdir() if not path.suffix]) < self.others:
            if time.monotonic() > deadline:
                raise DataError("the others did not come")
            select.select([], [], [], 0.05)
        return WordFacts(self.number)
