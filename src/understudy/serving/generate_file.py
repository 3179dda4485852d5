"""Generates an output for each row of a file: streaming, in the order of the file, resumable.

    OUT                 a line for each answered row: its columns, then output, confidence, finished, and probability
                        where the confidence is calibrated
    OUT.failed.jsonl    a line for each other row: its columns, then reason

Rows are answered in blocks. Until the file is finished, its lines are in `OUT.partial` and `OUT.failed.jsonl.partial`,
and `OUT.state.json` says after each block how far they are valid.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, tee
from pathlib import Path
from typing import BinaryIO

from understudy.errors import DataError, GenerationError, StoreError
from understudy.progress import SILENT, Progress
from understudy.serving.confidence import Calibration
from understudy.serving.deployment import Answer, Answering
from understudy.store.disk import checksum, disk_errors, make_folder, read_json, write_json
from understudy.store.manifest import CLOSED, parse
from understudy.store.stage import content_key
from understudy.tasks.chat_formats import Reading
from understudy.tasks.file_formats import ReadOptions, read_records
from understudy.tasks.record import no_log
from understudy.tasks.record_checks import text_of
from understudy.tasks.task_records import COLUMNS, RecordSettings, converted, recognised

ROWS_TOGETHER = 512
OUTPUT_COLUMNS = ("output", "confidence", "finished", "probability")
REASON = "reason"


@dataclass(frozen=True)
class OutputFiles:
    """The finished files and what they are made from."""

    outputs: Path
    failed: Path
    rows: int
    answered: int


@dataclass(frozen=True)
class _State:
    """How far the partial files are valid."""

    __pydantic_config__ = CLOSED

    key: str
    rows: int = 0
    answered: int = 0
    output_bytes: int = 0
    failed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class InputLine:
    """One row of the file: all its columns, and its source or why it has none."""

    columns: Mapping[str, object]
    source: str
    reason: str | None = None


def generate_file(
    answering: Answering,
    inputs: Path,
    out: Path,
    *,
    settings: RecordSettings,
    calibration: Calibration | None = None,
    progress: Progress = SILENT,
) -> OutputFiles:
    """Answers every row of a file; called again after an interruption, goes on where it stopped.

    Args:
        answering: the system.
        inputs: JSONL, JSON, CSV, TSV or Parquet.
        out: the file to write, JSON lines.
        settings: the names of the columns and the format.
        calibration: of the system's confidence; without it there is no column `probability`.
        progress: shows how far it is.

    Raises:
        DataError: if the inputs cannot be read, or `out` exists or was begun from other inputs or by another system.
        StoreError: if the disk is full or read-only.
    """
    total, taken = _counted(inputs, replace(settings, log=progress.log))
    failed = out.with_name(f"{out.name}.failed.jsonl")
    deployment = answering.deployment
    made_from = [checksum(inputs), deployment.key, deployment.decoding.model_dump(), asdict(deployment.limits)]
    key = content_key([*made_from, *((asdict(calibration),) if calibration else ())])
    make_folder(out.parent)
    state = _begun(out, failed, key)
    names = {name: _free(name, taken) for name in (*OUTPUT_COLUMNS, REASON)}
    rows = islice(_rows(inputs, replace(settings, log=no_log)), state.rows, None)
    with (
        disk_errors(out.parent),
        _opened(_partial(out), state.output_bytes) as outputs,
        _opened(_partial(failed), state.failed_bytes) as failures,
        progress.track(f"{deployment.system} generates", total, "input") as advance,
    ):
        advance(state.rows)
        while block := list(islice(rows, ROWS_TOGETHER)):
            answers = _answered(answering, block)
            for row, answer in zip(block, answers, strict=True):
                file = failures if isinstance(answer, str) else outputs
                file.write(_line(row, answer, names, calibration))
            for file in (outputs, failures):
                file.flush()
                os.fsync(file.fileno())
            usable = sum(isinstance(answer, Answer) for answer in answers)
            state = _State(key, state.rows + len(block), state.answered + usable, outputs.tell(), failures.tell())
            write_json(_state_file(out), asdict(state))
            advance(len(block))
    return _finish(out, failed, state)


def refuse_failed(files: OutputFiles) -> None:
    """Raises if some rows have no output.

    Raises:
        GenerationError: with their number and where they are listed.
    """
    if files.answered < files.rows:
        raise GenerationError(
            f"{files.rows - files.answered} of {files.rows} rows have no output; {files.failed} lists them with the "
            "reason: correct them there and generate that file"
        )


def _counted(inputs: Path, settings: RecordSettings) -> tuple[int, set[str]]:
    """The number of rows and the names of their columns; the whole file can be read."""
    count, names = 0, set[str]()
    for row in _rows(inputs, settings):
        count += 1
        names.update(row.columns)
    if not count:
        raise DataError(f"{inputs} has no rows; give a file with an input in each")
    return count, names


def _rows(inputs: Path, settings: RecordSettings) -> Iterator[InputLine]:
    """The rows of a file, whatever its format; conversations and requests become sources as in training."""
    fields = settings.fields
    rest = read_records(inputs, ReadOptions(tsv_quotes=settings.form.tsv_quotes, log=settings.log))
    first = next(rest, None)
    if first is None:
        return
    records, originals = tee(chain([first], rest))
    form = recognised(first, fields, settings.log)
    if form != COLUMNS:
        records = converted(records, form, Reading(False, settings.form.turns, None), fields, inputs)
    for record, original in zip(records, originals, strict=True):
        columns = {name: _plain(value) for name, value in original.values.items()}
        try:
            yield InputLine(columns, text_of(record, fields.source))
        except DataError as error:
            yield InputLine(columns, "", str(error))


def _answered(answering: Answering, block: list[InputLine]) -> list[Answer | str]:
    """An answer, or the reason why there is none, for each row."""
    found: list[Answer | str] = [row.reason or "" for row in block]
    read = [i for i, row in enumerate(block) if row.reason is None]
    refusals = answering.refusals([block[i].source for i in read])
    for i, refusal in zip(read, refusals, strict=True):
        found[i] = refusal or ""
    able = [i for i, refusal in zip(read, refusals, strict=True) if refusal is None]
    for i, answer in zip(able, answering.answers([block[i].source for i in able]), strict=True):
        found[i] = answer
    return found


def _line(row: InputLine, answer: Answer | str, names: Mapping[str, str], calibration: Calibration | None) -> bytes:
    own: dict[str, object] = {REASON: answer}
    if isinstance(answer, Answer):
        probability = (round(calibration.probability(answer.confidence), 6),) if calibration else ()
        values = answer.text, round(answer.confidence, 6), answer.finished, *probability
        own = dict(zip(OUTPUT_COLUMNS, values, strict=False))
    line = {**row.columns, **{names[name]: value for name, value in own.items()}}
    return (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode()


def _begun(out: Path, failed: Path, key: str) -> _State:
    """How far an interrupted call came.

    Raises:
        DataError: if a file would be overwritten, or was begun from something else.
    """
    for path in (out, failed):
        if path.exists():
            raise DataError(f"{path} exists; move it away, or give another name with --out")
    state_file = _state_file(out)
    if not state_file.is_file():
        return _State(key)
    try:
        state = parse(_State, read_json(state_file), state_file)
    except StoreError:
        state = None
    if state is None or state.key != key:
        raise DataError(
            f"{_partial(out)} was begun from other inputs, by another system or with other settings; delete it and "
            f"{state_file}, or give another name with --out"
        )
    return state


def _finish(out: Path, failed: Path, state: _State) -> OutputFiles:
    """Renames the partial files; one without rows is removed. The outputs are last: once they are there, all is."""
    if state.failed_bytes:
        _partial(failed).replace(failed)
    else:
        _partial(failed).unlink()
    _partial(out).replace(out)
    _state_file(out).unlink()
    return OutputFiles(out, failed, state.rows, state.answered)


@contextmanager
def _opened(path: Path, valid: int) -> Iterator[BinaryIO]:
    """A file to append to after its valid bytes."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(valid)
        file.seek(valid)
        yield file


def _free(name: str, taken: set[str]) -> str:
    """The name of an added column, which no column of the file has."""
    while name in taken:
        name = f"understudy_{name}"
    return name


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _state_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.state.json")


def _plain(value: object) -> object:
    """The value of a column as JSON has it: a table has nan for a missing number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
