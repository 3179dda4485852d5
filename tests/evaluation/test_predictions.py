import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from understudy.errors import EvaluationError
from understudy.evaluation.predictions import read_outputs, read_predictions, write_predictions
from understudy.records import Example, Prediction

EXAMPLES = [Example("a", "first", ("one", "eins")), Example("b", "second", ("two",)), Example("c", "third")]
EXPECTED = [
    Prediction("a", "first", ("one", "eins"), "uno"),
    Prediction("b", "second", ("two",), ""),
    Prediction("c", "third", (), "tres\u2028x"),
]


def lines(path: Path, *rows: str | Mapping[str, object]) -> Path:
    """A file of these lines, objects as JSON."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Line breaks of any kind, quotes and an empty text survive."""
    predictions = [*EXPECTED, Prediction("d", 'a "quote"', ("x\ny",), "é\r\n\x85")]
    write_predictions(tmp_path / "predictions.jsonl", predictions)

    assert read_predictions(tmp_path / "predictions.jsonl") == predictions


def test_json_lines_of_another_tool_are_matched_by_id(tmp_path: Path) -> None:
    """Their order and further keys do not matter."""
    rows = [{"id": own.id, "text": own.text, "seconds": 1} for own in reversed(EXPECTED)]

    assert read_outputs(lines(tmp_path / "outputs.jsonl", *rows), EXAMPLES) == EXPECTED


def test_lines_of_another_tool_are_matched_by_order(tmp_path: Path) -> None:
    """An empty line is an empty output; rare separators do not end a line."""
    assert read_outputs(lines(tmp_path / "outputs.txt", "uno", "", "tres\u2028x"), EXAMPLES) == EXPECTED


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names it and the forms it may have."""
    with pytest.raises(EvaluationError, match=r"outputs.jsonl, and there is no such file; give \*.jsonl or plain text"):
        read_outputs(tmp_path / "outputs.jsonl", EXAMPLES)


def test_a_wrong_number_of_lines_is_refused(tmp_path: Path) -> None:
    """The message gives the numbers expected and found."""
    with pytest.raises(EvaluationError, match="expected 3 lines, found 4; write one line per example"):
        read_outputs(lines(tmp_path / "outputs.txt", "uno", "due", "tre", ""), EXAMPLES)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ("ac", r"1 ids without an output \(first: 'b'\)"),
        ("abcx", r"1 ids that are not in the split \(first: 'x'\)"),
        ("abbc", r"1 ids with several outputs \(first: 'b'\)"),
        ("xy", r"3 ids without an output \(first: 'a'\); 2 ids that are not in the split"),
    ],
)
def test_ids_that_do_not_match_are_refused(tmp_path: Path, ids: str, found: str) -> None:
    """Every example has one output and every output one example; all mismatches are named at once."""
    path = lines(tmp_path / "outputs.jsonl", *({"id": own, "text": ""} for own in ids))

    with pytest.raises(EvaluationError, match=found):
        read_outputs(path, EXAMPLES)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("uno", r"line 2: expected a JSON object with id, text, found 'uno\\n'"),
        ('"uno"', r"line 2: expected id \(str\), text \(str\), found no such id, text in '\"uno\"'"),
        ({"id": "b"}, "line 2: .* found no such text"),
        ({"id": 1, "text": ""}, "line 2: .* found no such id"),
    ],
)
def test_a_line_that_is_no_output_is_refused(tmp_path: Path, row: str | dict[str, object], found: str) -> None:
    """The message gives the line and what it lacks."""
    path = lines(tmp_path / "outputs.jsonl", {"id": "a", "text": "uno"}, row)

    with pytest.raises(EvaluationError, match=found):
        read_outputs(path, EXAMPLES)


def test_references_that_are_no_list_are_refused(tmp_path: Path) -> None:
    """One string would be read as a reference per letter."""
    path = lines(tmp_path / "predictions.jsonl", {"id": "a", "source": "", "references": "one", "text": ""})

    with pytest.raises(EvaluationError, match="found no such references"):
        read_predictions(path)


@pytest.mark.parametrize("name", ["outputs.jsonl", "outputs.txt"])
def test_a_binary_file_is_refused(tmp_path: Path, name: str) -> None:
    """The message names the file and the byte."""
    (tmp_path / name).write_bytes(b"\x80\x03binary")

    with pytest.raises(EvaluationError, match=rf"{name}: byte 0x80 is not UTF-8; save"):
        read_outputs(tmp_path / name, EXAMPLES)
