import json
from pathlib import Path
from typing import Any

import pytest

from understudy.api_teacher.journal import Journal, iter_responses
from understudy.api_teacher.kd4gen_import import read_kd4gen_responses
from understudy.errors import DataError

TOP = [{"Hi": -0.1, "Ho": -2.5}, {"!": -0.5}]


def written(folder: Path, split: dict[str, Any]) -> Path:
    """A file with one split."""
    path = folder / "gpt.json"
    path.write_text(json.dumps({"train": split}))
    return path


@pytest.mark.parametrize("logprobs", [TOP, str(TOP)])
def test_a_file_of_the_kd4gen_code_is_read_as_responses(logprobs: object, tmp_path: Path) -> None:
    """Lists, or the text of lists; a written token has its own log-probability if the file lists it, else -9999."""
    path = written(tmp_path, {"text": ["greet"], "target": ["Hi?"], "tokens": [["Hi", "?"]], "logprobs": [logprobs]})
    ((source, choice),) = read_kd4gen_responses(path)

    assert (source, choice.text) == ("greet", "Hi?")
    assert choice.logprobs == [
        {"token": "Hi", "logprob": -0.1, "top": [["Hi", -0.1], ["Ho", -2.5]]},
        {"token": "?", "logprob": -9999.0, "top": [["!", -0.5]]},
    ]


def test_a_list_in_a_text_is_parsed_but_never_evaluated(tmp_path: Path) -> None:
    """The official code passes it to eval; here an expression is refused and not run."""
    trap = tmp_path / "trap"
    path = written(tmp_path, {"text": ["x"], "tokens": [["a"]], "logprobs": [f"[open({str(trap)!r}, 'w')]"]})

    with pytest.raises(DataError, match=r"split 'train' item 1: 'logprobs' is neither a list nor the text of one"):
        list(read_kd4gen_responses(path))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"text": ["x"], "tokens": [[3, 4]], "logprobs": [[{}, {}]]}, "ids of one student's vocabulary"),
        ({"text": ["x"], "tokens": [["a"]], "logprobs": [[{}, {}]]}, "1 tokens and 2 'logprobs'"),
        ({"text": ["x"], "tokens": [["a"]], "logprobs": [[{"a": "b"}]]}, "each token needs an object"),
        ({"text": [" "], "tokens": [["a"]], "logprobs": [[{}]]}, "'text' is ' '"),
        ({"text": ["x"], "target": ["y"]}, "found the fields text, target, .*'tokens'"),
    ],
)
def test_an_invalid_record_is_refused_with_its_position(split: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The message names split, item and field."""
    with pytest.raises(DataError, match="split 'train' item 1: .*" + message):
        list(read_kd4gen_responses(written(tmp_path, split)))


def test_a_journal_imports_only_responses_it_lacks(tmp_path: Path) -> None:
    """Imported responses cost nothing, are imported once, and never for a source with a response of its own."""
    path = written(tmp_path, {"text": ["greet", "known"], "tokens": [["Hi", "?"], ["Hi"]], "logprobs": [TOP, TOP[:1]]})
    journal = Journal.open(tmp_path / "journal.jsonl", fingerprint={})
    journal.record_end(
        journal.record_request("known", 1.0),
        cost=1.0,
        choices=[choice for _, choice in read_kd4gen_responses(path)][:1],
    )
    journal.import_responses(read_kd4gen_responses(path))
    journal.import_responses(read_kd4gen_responses(path))
    again = Journal.open(tmp_path / "journal.jsonl", fingerprint={})

    assert [choice.text for choice in again.responses("greet")] == ["Hi?"]
    assert len(again.responses("known")) == 1
    assert again.spent == 1.0
    assert [choice.logprobs is not None for _, choice in iter_responses(journal.path)] == [True, True]
