"""Keeps requests and their answers on request: redacted, each text once, deleted after some days.

A thread of its own redacts and writes, so that answers do not wait for a disk or the user's code; `record_files` has
the files. A record that cannot be redacted is dropped. Texts that the current file has already become a line with the
id alone, and readers drop those that several files have; the memory for it is bounded by `REMEMBERED`.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Literal

from understudy.custom_code import load_object
from understudy.errors import ConfigError
from understudy.serving.record_files import DayFile, append, delete_older, line_of, make_record_folder
from understudy.tasks.chat_turns import Turn

RECORD_FAILURES = logging.getLogger("understudy.records")
WAITING = 2_000
"""Records that wait for the thread; more are dropped and counted, so that memory is bounded."""
REMEMBERED = 100_000
"""Digests of the current file that are kept in memory, about 10 MB."""
CLEANING_S = 600.0
"""Seconds without a record after which the thread looks for a new day."""
Redact = Callable[[str], object]
AnsweredBy = Literal["student", "teacher"]
RecordOutcome = Literal["written", "repeated", "not_text", "not_redacted", "incomplete", "queue_full", "failed"]
"""What becomes of a record; all but the first two are dropped."""


class NotRecordable(Exception):
    """Traffic that is no record of texts. It never leaves the server."""

    def __init__(self, outcome: RecordOutcome) -> None:
        super().__init__(outcome)
        self.outcome: RecordOutcome = outcome


@dataclass(frozen=True)
class KeepTexts:
    """Where texts are kept, and how."""

    folder: Path
    redact: str | None = None
    """The function that is called with each text before it is written, as 'module:function' or 'file.py:function'."""
    allow_code: bool = False
    days: int | None = None
    """Days whose files are kept, today's among them; None: all."""


@dataclass(frozen=True)
class RecordedText:
    """One text of an answer."""

    text: str
    finish_reason: str = "stop"


@dataclass(frozen=True)
class TextRecord:
    """A request with its texts."""

    id: str
    """The id that the client has got."""
    turns: Sequence[Turn]
    """The messages; the last one is the user's."""
    outputs: Sequence[RecordedText]
    answered_by: AnsweredBy
    model: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Sampling parameters of the request."""
    usage: Mapping[str, int] = field(default_factory=dict)
    """Tokens, under the names of the API."""
    confidence: Sequence[float] | None = None
    """Of each output, as in `Answer`."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def usable(self) -> bool:
        """Whether a task can be made of it."""
        spoken = [turn for turn in self.turns if turn.role != "system"]
        texts = [*(turn.text for turn in self.turns), *(output.text for output in self.outputs)]
        is_request = bool(spoken and spoken[-1].role == "user" and spoken[-1].text.strip())
        return is_request and bool(self.outputs) and not any("\0" in text for text in texts)


class RecordWriter:
    """Writes records to the files of one process. `write` and `submit` return at once, from any thread."""

    def __init__(self, keep: KeepTexts, counted: Callable[[RecordOutcome], None]) -> None:
        """Starts the thread.

        Args:
            keep: where texts are kept, and how.
            counted: called with what became of each record.

        Raises:
            ConfigError: as `prepared`.
            StoreError: as `prepared`.
        """
        self._redact = prepared(keep)
        self._keep, self._counted = keep, counted
        self._file = DayFile(keep.folder)
        self._digests: dict[bytes, None] = {}
        self._cleaned: date | None = None
        self._jobs: Queue[Callable[[], Iterable[TextRecord]] | None] = Queue(WAITING)
        self._thread = Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def write(self, record: TextRecord) -> None:
        """Has a record written."""
        self.submit(lambda: (record,))

    def submit(self, job: Callable[[], Iterable[TextRecord]]) -> None:
        """Has the records written that a function makes, in the thread; it may raise `NotRecordable`."""
        try:
            self._jobs.put_nowait(job)
        except Full:
            self._counted("queue_full")

    def close(self) -> None:
        """Ends the thread after everything was written."""
        self._jobs.put(None)
        self._thread.join()
        self._file.close()

    def _work(self) -> None:
        while True:
            self._delete_old(datetime.now(UTC).date())
            try:
                job = self._jobs.get(timeout=CLEANING_S)
            except Empty:
                continue
            if job is None:
                return
            try:
                for record in job():
                    self._counted(self._written(record))
            except NotRecordable as found:
                self._counted(found.outcome)
            except Exception as error:  # noqa: BLE001 - the thread goes on; messages may hold texts
                RECORD_FAILURES.error("a record was not written: %s", _without_texts(error))
                self._counted("failed")

    def _delete_old(self, today: date) -> None:
        if self._keep.days is None or self._cleaned == today:
            return
        self._cleaned = today
        try:
            delete_older(self._keep.folder, today - timedelta(days=self._keep.days - 1))
        except OSError as error:
            RECORD_FAILURES.error("old records were not deleted: %s", _without_texts(error))

    def _written(self, record: TextRecord) -> RecordOutcome:
        if not record.usable:
            return "not_text"
        try:
            record = redacted(record, self._redact)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            RECORD_FAILURES.error("%s raised %s; the record is dropped", self._keep.redact, type(error).__name__)
            return "not_redacted"
        content = content_of(record)
        try:
            digest = hashlib.sha256(line_of(content)).digest()[:16]
        except UnicodeEncodeError:  # half of a character
            return "not_text"
        head = {"id": record.id, "time": record.time.isoformat(timespec="milliseconds"), "digest": digest.hex()}
        with self._file.locked(datetime.now(UTC).date()) as (fd, is_new):
            if is_new:  # repetitions refer to the same file, so that none outlives its texts
                self._digests.clear()
            repeated = digest in self._digests
            facts = {"usage": dict(record.usage), "confidence": list(record.confidence or ())}
            append(fd, line_of(head if repeated else head | content | {k: v for k, v in facts.items() if v}))
            self._digests.pop(digest, None)
            self._digests[digest] = None  # the most recent is the last
        if len(self._digests) > REMEMBERED:
            del self._digests[next(iter(self._digests))]
        return "repeated" if repeated else "written"


def prepared(keep: KeepTexts) -> Redact | None:
    """The function that redacts, once the folder is there.

    Raises:
        ConfigError: if it cannot be loaded.
        StoreError: if the folder cannot be used.
    """
    redact = None if keep.redact is None else load_object(keep.redact, allowed=keep.allow_code)
    if redact is not None and not callable(redact):
        raise ConfigError(f"--redact names {keep.redact!r}, which is no function; name one that maps a text to a text")
    make_record_folder(keep.folder)
    return redact


def redacted(record: TextRecord, redact: Redact | None) -> TextRecord:
    """The record with each of its texts redacted: messages, outputs, and texts among the parameters."""
    if redact is None:
        return record

    def clean(text: str) -> str:
        found = redact(text)
        if not isinstance(found, str):
            raise TypeError
        return found

    def clean_value(value: object) -> object:
        if isinstance(value, str):
            return clean(value)
        return [clean_value(item) for item in value] if isinstance(value, list) else value

    return replace(
        record,
        turns=[replace(turn, text=clean(turn.text)) for turn in record.turns],
        outputs=[replace(output, text=clean(output.text)) for output in record.outputs],
        parameters={name: clean_value(value) for name, value in record.parameters.items()},
    )


def content_of(record: TextRecord) -> dict[str, object]:
    """What is equal in repetitions, in the form of a request log, which tasks are made of."""
    messages = [{"role": turn.role, "content": turn.text} for turn in record.turns]
    choices = [
        {"message": {"role": "assistant", "content": output.text}, "finish_reason": output.finish_reason}
        for output in record.outputs
    ]
    return {
        "answered_by": record.answered_by,
        "request": {"messages": messages, **record.parameters},
        "response": {"model": record.model, "choices": choices},
    }


def _without_texts(error: Exception) -> str:
    """An error's name, and what the system says of a file; nothing that could hold a text."""
    return f"{type(error).__name__} {error.strerror or ''}" if isinstance(error, OSError) else type(error).__name__
