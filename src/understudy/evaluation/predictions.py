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

FIELD_TYPES = {"id": str, "source": str, "references": list, "text": str}


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One prediction per line: id, source, references, text."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions in a file of `write_predictions`.

    Raises:
        EvaluationError: if a line is not a JSON object with id, source, references and text.
    """
    return [
        Prediction(str(row["id"]), str(row["source"]), _texts(row["references"]), str(row["text"]))
        for row in _rows(path, tuple(FIELD_TYPES))
    ]


def read_outputs(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """The outputs of another tool for these examples, in their order.

    Args:
        path: `*.jsonl` with an `id` and a `text` on each line, in any order; any other name is plain text,
            one output per line in the order of the examples, where an empty line is an empty output.
        examples: the split the outputs belong to.

    Raises:
        EvaluationError: if there is no such file, outputs are missing or too many, or one has no example.
    """
    if not path.is_file():
        raise EvaluationError(f"outputs were expected in {path}, and there is no such file; give *.jsonl or plain text")
    texts = _texts_by_id(path, examples) if path.suffix == ".jsonl" else _texts_by_line(path, examples)
    return [
        Prediction(example.id, example.source, example.targets, text)
        for example, text in zip(examples, texts, strict=True)
    ]


def _texts_by_line(path: Path, examples: Sequence[Example]) -> list[str]:
    # Not splitlines: it also breaks at rarer separators, which may occur inside a text.
    texts = [line.removesuffix("\n") for line in _lines(path)]
    if len(texts) != len(examples):
        raise EvaluationError(
            f"{path} should hold one output per example in the order of the split: expected {len(examples)} lines, "
            f"found {len(texts)}; write one line per example (an empty one for an empty output), or JSON lines "
            "with id and text"
        )
    return texts


def _texts_by_id(path: Path, examples: Sequence[Example]) -> list[str]:
    rows = [(str(row["id"]), str(row["text"])) for row in _rows(path, ("id", "text"))]
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


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, with their ends."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise EvaluationError(
            f"{path}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the outputs as UTF-8 text"
        ) from None


def _rows(path: Path, fields: Sequence[str]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(
                f"{path}, line {number}: expected a JSON object with {', '.join(fields)}, found "
                f"{line[:40]!r} ({error.msg}); write one object per line"
            ) from None
        given = row if isinstance(row, dict) else {}
        wrong = [field for field in fields if not isinstance(given.get(field), FIELD_TYPES[field])]
        if wrong:
            expected = ", ".join(f"{field} ({FIELD_TYPES[field].__name__})" for field in fields)
            raise EvaluationError(
                f"{path}, line {number}: expected {expected}, found no such {', '.join(wrong)} in "
                f"{line.strip()[:80]!r}; add it"
            )
        yield row


def _texts(references: object) -> tuple[str, ...]:
    return tuple(map(str, references)) if isinstance(references, list) else ()
