import json
from pathlib import Path
from typing import Any

import pytest

from understudy.api_teacher.journal import Journal, answered
from understudy.api_teacher.kd4gen_import import recorded
from understudy.errors import DataError

TOP = [{"Hi": -0.1, "Ho": -2.5}, {"!": -0.5}]


def written(folder: Path, split: dict[str, Any]) -> Path:
    """A file with one split."""
    path = folder / "gpt.json"
    path.write_text(json.dumps({"train": split}))
    return path


@pytest.mark.parametrize("logprobs", [TOP, str(TOP)])
def test_answers_of_the_kd4gen_code_are_read(logprobs: object, tmp_path: Path) -> None:
    """Lists, or the text of lists; the token that was written keeps its own log-probability, if it was told."""
    path = written(tmp_path, {"text": ["greet"], "target": ["Hi?"], "tokens": [["Hi", "?"]], "logprobs": [logprobs]})
    ((source, choice),) = recorded(path)

    assert (source, choice.text) == ("greet", "Hi?")
    assert choice.logprobs == [
        {"token": "Hi", "logprob": -0.1, "top": [["Hi", -0.1], ["Ho", -2.5]]},
        {"token": "?", "logprob": -9999.0, "top": [["!", -0.5]]},
    ]


def test_a_text_is_never_run(tmp_path: Path) -> None:
    """The official code hands it to eval: here an expression is refused, and nothing happens."""
    trap = tmp_path / "trap"
    path = written(tmp_path, {"text": ["x"], "tokens": [["a"]], "logprobs": [f"[open({str(trap)!r}, 'w')]"]})

    with pytest.raises(DataError, match=r"split 'train' item 1: 'logprobs' is no list, nor the text of one"):
        list(recorded(path))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"text": ["x"], "tokens": [[3, 4]], "logprobs": [[{}, {}]]}, "numbers of one student's vocabulary"),
        ({"text": ["x"], "tokens": [["a"]], "logprobs": [[{}, {}]]}, "1 tokens and 2 'logprobs'"),
        ({"text": ["x"], "tokens": [["a"]], "logprobs": [[{"a": "b"}]]}, "with their log-probabilities"),
        ({"text": [" "], "tokens": [["a"]], "logprobs": [[{}]]}, "it must be the source that was answered"),
        ({"text": ["x"], "target": ["y"]}, "found the fields text, target, and 'text', 'tokens' and 'logprobs'"),
    ],
)
def test_a_record_that_cannot_be_used_is_told(split: dict[str, Any], message: str, tmp_path: Path) -> None:
    """With its place in the file."""
    with pytest.raises(DataError, match=message):
        list(recorded(written(tmp_path, split)))


def test_a_journal_takes_over_what_it_lacks(tmp_path: Path) -> None:
    """At no cost, once, and never beside an answer of its own."""
    path = written(tmp_path, {"text": ["greet", "known"], "tokens": [["Hi", "?"], ["Hi"]], "logprobs": [TOP, TOP[:1]]})
    journal = Journal.at(tmp_path / "journal.jsonl", determines={})
    journal.end(journal.send("known", 1.0), cost=1.0, choices=[choice for _, choice in recorded(path)][:1])
    journal.take_over(recorded(path))
    journal.take_over(recorded(path))
    again = Journal.at(tmp_path / "journal.jsonl", determines={})

    assert [choice.text for choice in again.answers("greet")] == ["Hi?"]
    assert len(again.answers("known")) == 1
    assert again.spent == 1.0
    assert [choice.logprobs is not None for _, choice in answered(journal.path)] == [True, True]
