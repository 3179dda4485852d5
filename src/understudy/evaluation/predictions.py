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
from understudy.tasks.record_checks import checked_text, id_of, whole_characters
from understudy.tasks.text_lines import check_file, opened, text_lines

FIELD_TYPES = {"id": str, "source": str, "references": list, "text": str}
TEXT_FIELDS = ("text", "prediction", "output", "generated_text")
"""What tools call the field that holds an output."""


GENERATED_FIELDS = ("understudy_output", "output")
GENERATED_CONFIDENCES = ("understudy_confidence", "confidence")
"""What `understudy generate` calls the output and its confidence; the first where the inputs had the second."""


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


def read_outputs(
    path: Path, examples: Sequence[Example], *, source: str = "source", log: Log = no_log
) -> list[Prediction]:
    """The outputs of another tool for these examples, in their order.

    Args:
        path: a file of records with an `id` and a text (`TEXT_FIELDS`), in any order: JSONL, JSON, CSV, TSV or
            Parquet. Records without ids are found by their sources, as `understudy generate` keeps them. Any other
            name is plain text, one output per line in the order of the examples, where an empty line is an empty
            output.
        examples: the split the outputs belong to.
        source: the name of the field that holds the source.
        log: is called with how many outputs are empty, if any is.

    Raises:
        DataError: if the file or a record of it cannot be read.
        EvaluationError: if outputs are missing or too many, or one has no example.
    """
    check_file(path, missing="give outputs as JSONL with id and text, or as plain text with one line per example")
    as_records = path.name.lower().endswith(tuple(READERS))
    texts = _texts_by_record(path, examples, source) if as_records else _texts_by_line(path, examples, log)
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


def _texts_by_record(path: Path, examples: Sequence[Example], source: str) -> list[str]:
    records = list(read_records(path))
    by_source = bool(records) and all(one.values.get("id") is None and source in one.values for one in records)
    key, what = (source, "sources") if by_source else ("id", "ids")
    rows = [_output(record, key) for record in records]
    if by_source:  # a labeled file may have a row for each reference of a source, whose outputs are equal
        rows = list(dict.fromkeys(rows))
    known = [example.source if by_source else example.id for example in examples]
    counts = Counter(name for name, _ in rows)
    expected = set(known)
    problems = {
        "without an output": [name for name in known if name not in counts],
        "that are not in the split": [name for name in counts if name not in expected],
        "with several outputs": [name for name, count in counts.items() if count > 1],
    }
    found = [f"{len(keys)} {what} {problem} (first: {keys[0]!r:.80})" for problem, keys in problems.items() if keys]
    if found:
        raise EvaluationError(
            f"{path} should hold one output for each of {len(known)} examples: found {'; '.join(found)}; "
            f"write each {key} of the split once"
        )
    texts = dict(rows)
    return [texts[name] for name in known]


def _output(record: Record, key: str) -> tuple[str, str]:
    """The id or the source, and the text of a record."""
    given = [name for name in TEXT_FIELDS if name in record.values]
    generated = [name for name in GENERATED_FIELDS if name in record.values]
    if generated and any(name in record.values for name in GENERATED_CONFIDENCES):
        given = generated[:1]  # the other fields came with the inputs
    if record.values.get(key) is None or not given:
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
    found = id_of(record, key, "") if key == "id" else checked_text(record, key, record.values[key])
    return found, whole_characters(record, given[0], text)


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
