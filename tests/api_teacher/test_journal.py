from pathlib import Path

import pytest

from understudy.api_teacher.journal import Choice, Journal
from understudy.errors import PoolError

SETTINGS = {"model": "m", "top_p": 1.0}


def journal(folder: Path) -> Journal:
    """The journal of a folder."""
    return Journal.at(folder / "journal.jsonl", determines=SETTINGS)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Answers as they were given, failures until they are answered, what was spent."""
    first = journal(tmp_path)
    one, two = first.send("a", 5.0), first.send("b", 5.0)
    first.end(one, cost=2.0, choices=[Choice("é", "stop")])
    first.end(two, cost=0.0, failure="busy")
    first.give_up("b", "busy")
    again = journal(tmp_path)

    assert again.answers("a") == first.answers("a") == [Choice("é", "stop")]
    assert (again.failure("a"), again.failure("b"), again.failure("c")) == ("", "busy", "")
    assert (again.spent, again.committed) == (2.0, 2.0)
    assert again.send("b", 1.0) == 3


def test_log_probabilities_are_written_and_not_kept(tmp_path: Path) -> None:
    """They are for the student's signal, and would fill the memory of the asking."""
    first = journal(tmp_path)
    first.end(first.send("a", 1.0), cost=1.0, choices=[Choice("x", "stop", [{"token": "x", "logprob": -0.5}])])

    assert '"logprob": -0.5' in (tmp_path / "journal.jsonl").read_text()
    assert first.answers("a") == journal(tmp_path).answers("a") == [Choice("x", "stop")]


def test_a_request_without_an_end_counts_at_its_most(tmp_path: Path) -> None:
    """Nobody knows whether the server billed what was under way when the process died."""
    first = journal(tmp_path)
    first.send("a", 5.0)

    assert first.committed == 5.0
    assert journal(tmp_path).spent == journal(tmp_path).spent == 5.0


@pytest.mark.parametrize("torn", ['{"ended": 2, "ans é'.encode()[:-1], b"{", b'{"sent": 2}'])
def test_a_torn_last_line_is_forgotten(torn: bytes, tmp_path: Path) -> None:
    """What the process was writing when it died, cut within a letter too; the journal goes on behind what is whole."""
    first = journal(tmp_path)
    first.end(first.send("a", 5.0), cost=2.0, choices=[Choice("yes", "stop")])
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    second = journal(tmp_path)
    second.end(second.send("b", 1.0), cost=1.0, choices=[Choice("no", "stop")])

    assert journal(tmp_path).answers("a") == [Choice("yes", "stop")]
    assert journal(tmp_path).answers("b") == [Choice("no", "stop")]


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    """With its number; answers that were paid for are not thrown away."""
    journal(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text() + "{]\n" + '{"sent": 1, "source": "a", "most": 1}\n')

    with pytest.raises(PoolError, match=r"journal\.jsonl line 2: .*damaged here"):
        journal(tmp_path)


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    """The message names what differs."""
    journal(tmp_path)

    with pytest.raises(PoolError, match=r"answers to other questions: model was 'm' and is 'n' now"):
        Journal.at(tmp_path / "journal.jsonl", determines={**SETTINGS, "model": "n"})
