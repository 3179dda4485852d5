"""The files of the command `collect`: reads its inputs, and writes what became of each in the order of the inputs.

    responses.jsonl    {id, source, targets, ...} for each input with a usable text
    failed.jsonl       {id, reason, ...} for every other input

The dots are the other columns of the input. Where these have a target or a reason of their own, ours is `api_targets`
or `api_reason`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.api_teacher.journal import Journal
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint
from understudy.config.task import Fields
from understudy.errors import DataError
from understudy.records import Example
from understudy.store.disk import write_text
from understudy.tasks.files import read_split
from understudy.tasks.record import Log, no_log
from understudy.tasks.record_checks import id_of
from understudy.tasks.task_records import RecordSettings, task_records
from understudy.tasks.text_lines import check_file

RESPONSES, FAILED = "responses.jsonl", "failed.jsonl"
FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row of the inputs."""

    id: str
    source: str
    columns: Mapping[str, object]
    """The other columns."""


def read_inputs(inputs: str | Path | Sequence[Example], log: Log = no_log) -> list[InputRow]:
    """The rows of a file, or examples as rows; `log` is called with what was recognised in the file.

    Raises:
        DataError: if they cannot be read, there are none, or two different sources have one id.
    """
    if isinstance(inputs, str | Path):
        check_file(Path(inputs), missing="name the file of the inputs")
        settings = RecordSettings(FIELDS, log=log)
        records = list(task_records(Path(inputs), settings, split="unlabeled", labeled=False))
        read_split(records, split="unlabeled", fields=FIELDS, labeled=False, origin=str(inputs))  # refuses bad rows
        own = {FIELDS.id, FIELDS.source}
        return [
            InputRow(
                id_of(record, FIELDS.id, "unlabeled"),
                str(record.values[FIELDS.source]),
                {name: _plain(value) for name, value in record.values.items() if name not in own},
            )
            for record in records
        ]
    sources: dict[str, str] = {}
    for example in inputs:
        if sources.setdefault(example.id, example.source) != example.source:
            raise DataError(
                f"2 examples with different sources have the id {example.id!r}; make the ids of examples unique"
            )
    if not sources:
        raise DataError("collect needs at least one input, got an empty sequence of examples")
    return [InputRow(example.id, example.source, {}) for example in inputs]


def unique_examples(rows: Sequence[InputRow]) -> list[Example]:
    """Each source once, under its first id."""
    by_source: dict[str, Example] = {}
    for row in rows:
        by_source.setdefault(row.source, Example(row.id, row.source))
    return list(by_source.values())


def usable_texts(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> int:
    """The number of usable texts, copies included."""
    return sum(
        not parse_response(choice, endpoint).rejected
        for example in examples
        for choice in journal.responses(example.source)
    )


def write_results(rows: Sequence[InputRow], journal: Journal, endpoint: Endpoint, folder: Path) -> None:
    """Writes both files."""
    taken = {name for row in rows for name in row.columns}
    targets = "api_targets" if taken & {FIELDS.target, FIELDS.targets} else "targets"
    reason_key = "api_reason" if "reason" in taken else "reason"
    answered, failed = [], []
    for row in rows:
        parsed = [parse_response(choice, endpoint) for choice in journal.responses(row.source)]
        texts = list(dict.fromkeys(response.text for response in parsed if not response.rejected))
        if texts:
            answered.append({"id": row.id, "source": row.source, targets: texts, **row.columns})
        else:
            reasons = dict.fromkeys(response.rejected for response in parsed)
            reason = journal.failure(row.source) or ", ".join(reasons) or "not requested yet"
            failed.append({"id": row.id, reason_key: reason, **row.columns})
    for name, records in ((RESPONSES, answered), (FAILED, failed)):
        lines = (json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records)
        write_text(folder / name, "".join(lines))


def _plain(value: object) -> object:
    """The value of a column as JSON has it: a table has nan for a missing number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
