"""Reads and writes predictions as JSON lines, and reads the outputs of other tools for the same examples.

This module handles files at given paths. It does not depend on runs or the store.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from understudy.errors import EvaluationError
from understudy.records import Example, Prediction
from understudy.tasks.file_formats import READERS, read_jsonl, read_records
from understudy.tasks.record import Log, Record, listed, no_log
from understudy.tasks.record_checks import id_of, whole_characters
from understudy.tasks.text_lines import check_file, opened, text_lines

FIELD_TYPES = {"id": str, "source": str, "references": list, "text": str}
TEXT_FIELDS = ("text", "prediction", "output", "generated_text")
"""What tools call the field that holds an output."""


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One prediction per line: id, source, references, text."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions in a file of `write_predictions`.

    Raises:
        DataError: if the file or a line of it cannot be read.
        EvaluationError: if a line is not a JSON object with id, source, references and text.
    """
    return [
        Prediction(str(row["id"]), str(row["source"]), _texts(row["references"]), str(row["text"]))
        for row in _rows(path)
    ]


def read_outputs(path: Path, examples: Sequence[Example], *, log: Log = no_log) -> list[Prediction]:
    """The outputs of another tool for these examples, in their order.

    Args:
        path: a file of records with an `id` and a text (`TEXT_FIELDS`), in any order: JSONL, JSON, CSV, TSV or
            Parquet. Any other name is plain text, one output per line in the order of the examples, where an empty
            line is an empty output.
        examples: the split the outputs belong to.
        log: is called with how many outputs are empty, if any is.

    Raises:
        DataError: if the file or a record of it cannot be read.
        EvaluationError: if outputs are missing or too many, or one has no example.
    """
    check_file(path, missing="give outputs as JSONL with id and text, or as plain text with one line per example")
    as_records = path.name.lower().endswith(tuple(READERS))
    texts = _texts_by_id(path, examples) if as_records else _texts_by_line(path, examples, log)
    if empty := sum(not text.strip() for text in texts):
        log(f"{path}: {empty} of {len(texts)} outputs are empty; they are scored as empty texts")
    return [
        Prediction(example.id, example.source, example.targets, text)
        for example, text in zip(examples, texts, strict=True)
    ]


def _texts_by_line(path: Path, examples: Sequence[Example], log: Log) -> list[str]:
    with opened(path) as file:
        texts = [line.removesuffix("\n").removesuffix("\r") for line in text_lines(file, path)]
    if texts and len(texts) == len(examples) - 1:
        # Texts joined by line ends, of which the last is empty, have one line end fewer than texts.
        log(f"{path}: {len(texts)} lines for {len(examples)} examples; the output of the last one is taken as empty")
        texts.append("")
    if len(texts) != len(examples):
        raise EvaluationError(
            f"{path} should hold one output per example in the order of the split: expected {len(examples)} lines, "
            f"found {len(texts)}; write one line per example (an empty one for an empty output), or JSON lines "
            "with id and text"
        )
    return texts


def _texts_by_id(path: Path, examples: Sequence[Example]) -> list[str]:
    rows = [_output(record) for record in read_records(path)]
    known = [example.id for example in examples]
    counts = Counter(name for name, _ in rows)
    expected = set(known)
    problems = {
        "without an output": [name for name in known if name not in counts],
        "that are not in the split": [name for name in counts if name not in expected],
        "with several outputs": [name for name, count in counts.items() if count > 1],
    }
    found = [f"{len(ids)} ids {what} (first: {ids[0]!r})" for what, ids in problems.items() if ids]
    if found:
        raise EvaluationError(
            f"{path} should hold one output for each of {len(known)} examples: found {'; '.join(found)}; "
            "write each id of the split once"
        )
    texts = dict(rows)
    return [texts[name] for name in known]


def _output(record: Record) -> tuple[str, str]:
    """The id and the text of a record."""
    given = [name for name in TEXT_FIELDS if name in record.values]
    if record.values.get("id") is None or not given:
        raise EvaluationError(
            f"{record.where}: expected an output as id and text, found the fields "
            f"{listed(record.values)}; the text may be called {', '.join(TEXT_FIELDS)}"
        )
    if len(given) > 1:
        raise EvaluationError(
            f"{record.where}: {' and '.join(map(repr, given))} may each hold the output; keep one of them"
        )
    text = record.values[given[0]]
    if not isinstance(text, str):
        raise EvaluationError(f"{record.where}: {given[0]!r} is {text!r:.60}; an output must be a text")
    return id_of(record, "id", ""), whole_characters(record, given[0], text)


def _rows(path: Path) -> Iterator[dict[str, object]]:
    for record in read_jsonl(path):
        row = dict(record.values)
        wrong = [field for field, kind in FIELD_TYPES.items() if not isinstance(row.get(field), kind)]
        if wrong:
            expected = ", ".join(f"{field} ({kind.__name__})" for field, kind in FIELD_TYPES.items())
            raise EvaluationError(
                f"{record.where}: expected {expected}, found no such {', '.join(wrong)} among {listed(row)}; add it"
            )
        yield row


def _texts(references: object) -> tuple[str, ...]:
    return tuple(map(str, references)) if isinstance(references, list) else ()
