import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from understudy.errors import DataError, EvaluationError, UnderstudyError
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


TEXT = "uno\n\ntres\u2028x\n"
FORMS: dict[str, tuple[str, bytes]] = {
    "with a byte order mark": ("outputs.txt", b"\xef\xbb\xbf" + TEXT.encode()),
    "of Windows": ("outputs.txt", TEXT.replace("\n", "\r\n").encode()),
    "without a last line end": ("outputs.txt", TEXT.encode()[:-1]),
    "JSON lines with a byte order mark": (
        "outputs.jsonl",
        b"\xef\xbb\xbf" + b"".join(json.dumps({"id": own.id, "text": own.text}).encode() + b"\n" for own in EXPECTED),
    ),
    "a JSON array": ("outputs.json", json.dumps([{"id": own.id, "text": own.text} for own in EXPECTED]).encode()),
    "a field named prediction": (
        "outputs.jsonl",
        b"".join(json.dumps({"id": own.id, "prediction": own.text}).encode() + b"\n" for own in EXPECTED),
    ),
    "CSV": ("outputs.csv", b"id,text\n" + "".join(f"{own.id},{own.text}\n" for own in EXPECTED).encode()),
}


@pytest.mark.parametrize(("name", "content"), FORMS.values(), ids=FORMS)
def test_every_form_of_a_file_gives_the_same_outputs(tmp_path: Path, name: str, content: bytes) -> None:
    """Byte order marks, line ends and the kind of file are not part of the outputs; the empty one is said."""
    log: list[str] = []
    (tmp_path / name).write_bytes(content)

    assert read_outputs(tmp_path / name, EXAMPLES, log=log.append) == EXPECTED
    assert log == [f"{tmp_path / name}: 1 of 3 outputs are empty; they are scored as empty texts"]


def test_a_lone_carriage_return_ends_no_line(tmp_path: Path) -> None:
    """It is part of the output."""
    (tmp_path / "outputs.txt").write_bytes(b"uno\runo\nx\ny\n")

    assert [own.text for own in read_outputs(tmp_path / "outputs.txt", EXAMPLES)] == ["uno\runo", "x", "y"]


def test_ids_that_are_numbers_match_as_texts(tmp_path: Path) -> None:
    """JSON of other tools keeps numbers; the ids of a split are texts."""
    rows = [{"id": i, "text": str(i)} for i in (2, 1)]

    outputs = read_outputs(lines(tmp_path / "o.jsonl", *rows), [Example("1", "a"), Example("2", "b")])
    assert [own.text for own in outputs] == ["1", "2"]


def test_a_last_output_that_is_empty_has_no_line(tmp_path: Path) -> None:
    """Texts joined by line ends; the line says so. Two missing lines are refused."""
    log: list[str] = []
    outputs = read_outputs(lines(tmp_path / "o.txt", "uno", "due"), EXAMPLES, log=log.append)

    assert [own.text for own in outputs] == ["uno", "due", ""]
    assert "2 lines for 3 examples; the output of the last one is taken as empty" in log[0]
    with pytest.raises(EvaluationError, match="expected 3 lines, found 1"):
        read_outputs(lines(tmp_path / "o.txt", "uno"), EXAMPLES)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names it and the forms it may have."""
    with pytest.raises(DataError, match=r"outputs.jsonl: no such file; give outputs as JSONL .* plain text"):
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
        ("uno", r"line 2: malformed JSON .*'uno'"),
        ('"uno"', r"line 2: found a JSON str, not an object"),
        ({"id": "b"}, r"line 2: expected an output as id and text, found the fields id; .*prediction"),
        ({"text": "b"}, r"line 2: expected an output as id and text, found the fields text"),
        ({"id": [], "text": ""}, r"line 2: 'id' is \[\]; an id must be"),
        ({"id": "b", "text": None}, r"line 2: 'text' is None; an output must be a text"),
        ({"id": "b", "text": "in", "prediction": "out"}, r"line 2: 'text' and 'prediction' may each hold the output"),
        ({"id": "b", "text": "\ud83d"}, r"line 2: 'text' holds .* half of a character"),
    ],
)
def test_a_line_that_is_no_output_is_refused(tmp_path: Path, row: str | dict[str, object], found: str) -> None:
    """The message gives the line and what it lacks."""
    path = lines(tmp_path / "outputs.jsonl", {"id": "a", "text": "uno"}, row)

    with pytest.raises(UnderstudyError, match=found):
        read_outputs(path, EXAMPLES)


def test_references_that_are_no_list_are_refused(tmp_path: Path) -> None:
    """One string would be read as a reference per letter."""
    path = lines(tmp_path / "predictions.jsonl", {"id": "a", "source": "", "references": "one", "text": ""})

    with pytest.raises(EvaluationError, match="found no such references"):
        read_predictions(path)


@pytest.mark.parametrize("name", ["outputs.jsonl", "outputs.txt"])
@pytest.mark.parametrize(("encoding", "found"), [("cp1252", "0xe9 at offset 4.*to UTF-8"), ("utf-16", "UTF-16; conv")])
def test_an_output_in_another_encoding_is_refused(tmp_path: Path, name: str, encoding: str, found: str) -> None:
    """The message names the file, the byte and the encoding to convert to."""
    (tmp_path / name).write_bytes("a\nb\né\n".encode(encoding) if name == "outputs.txt" else "{} é".encode(encoding))
    found = found.replace("offset 4", "offset 3") if name == "outputs.jsonl" else found

    with pytest.raises(DataError, match=rf"{name}.*: byte .*{found}"):
        read_outputs(tmp_path / name, EXAMPLES)
