from pathlib import Path

import pytest

from understudy.api_teacher.journal import CompletionChoice, Journal
from understudy.errors import PoolError

SETTINGS = {"model": "m", "top_p": 1.0}


def journal(folder: Path) -> Journal:
    """The journal of a folder."""
    return Journal.open(folder / "journal.jsonl", fingerprint=SETTINGS)


def test_a_reopened_journal_has_its_responses_failures_and_costs(tmp_path: Path) -> None:
    """Responses are unchanged, failures last until there is a response, and the amount spent is restored."""
    first = journal(tmp_path)
    one, two = first.record_request("a", 5.0), first.record_request("b", 5.0)
    first.record_end(one, cost=2.0, choices=[CompletionChoice("é", "stop")])
    first.record_end(two, cost=0.0, failure="busy")
    first.record_failure("b", "busy")
    again = journal(tmp_path)

    assert again.responses("a") == first.responses("a") == [CompletionChoice("é", "stop")]
    assert (again.failure("a"), again.failure("b"), again.failure("c")) == ("", "busy", "")
    assert (again.spent, again.committed) == (2.0, 2.0)
    assert again.record_request("b", 1.0) == 3


def test_log_probabilities_are_written_but_not_kept_in_memory(tmp_path: Path) -> None:
    """Training reads them from the file; in memory they would be too large."""
    first = journal(tmp_path)
    first.record_end(
        first.record_request("a", 1.0),
        cost=1.0,
        choices=[CompletionChoice("x", "stop", [{"token": "x", "logprob": -0.5}])],
    )

    assert '"logprob": -0.5' in (tmp_path / "journal.jsonl").read_text()
    assert first.responses("a") == journal(tmp_path).responses("a") == [CompletionChoice("x", "stop")]


def test_a_request_without_an_end_counts_at_its_maximum_cost(tmp_path: Path) -> None:
    """The server may have billed a request that was in flight when the process was killed."""
    first = journal(tmp_path)
    first.record_request("a", 5.0)

    assert first.committed == 5.0
    assert journal(tmp_path).spent == journal(tmp_path).spent == 5.0


@pytest.mark.parametrize("truncated", ['{"ended": 2, "ans é'.encode()[:-1], b"{", b'{"sent": 2}'])
def test_a_truncated_last_line_is_dropped(truncated: bytes, tmp_path: Path) -> None:
    """A killed process may stop within a line or a character; the journal continues after the last whole line."""
    first = journal(tmp_path)
    first.record_end(first.record_request("a", 5.0), cost=2.0, choices=[CompletionChoice("yes", "stop")])
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + truncated)
    second = journal(tmp_path)
    second.record_end(second.record_request("b", 1.0), cost=1.0, choices=[CompletionChoice("no", "stop")])

    assert journal(tmp_path).responses("a") == [CompletionChoice("yes", "stop")]
    assert journal(tmp_path).responses("b") == [CompletionChoice("no", "stop")]


def test_a_damaged_line_is_refused_with_its_number(tmp_path: Path) -> None:
    """Responses that were paid for are never dropped silently."""
    journal(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text() + "{]\n" + '{"sent": 1, "source": "a", "max_cost": 1}\n')

    with pytest.raises(PoolError, match=r"journal\.jsonl line 2: .*damaged.*restore"):
        journal(tmp_path)


def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    """The message names the setting with both values, and the option for another folder."""
    journal(tmp_path)

    with pytest.raises(PoolError, match=r"model was 'm' and is now 'n'.*--out"):
        Journal.open(tmp_path / "journal.jsonl", fingerprint={**SETTINGS, "model": "n"})


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "3",
        "{}",
        '{"unknown": 1}',
        '{"fingerprint": {"model": "m"}}',
        '{"sent": 3, "source": "a", "max_cost": 1}',
        '{"sent": 2, "source": "a", "max_cost": "1"}',
        '{"sent": 2, "source": "a", "max_cost": NaN}',
        '{"sent": null, "source": "a", "max_cost": 1}',
        '{"ended": 9, "cost": 1, "choices": []}',
        '{"ended": 1, "cost": -1, "choices": []}',
        '{"ended": 1, "cost": 1, "choices": {}}',
        '{"ended": 1, "cost": 1, "choices": [{"text": 3, "finish_reason": "stop"}]}',
        '{"ended": 1, "cost": 1, "choices": [{"text": "a", "finish_reason": "stop", "logprobs": [1]}]}',
        '{"imported": 3, "choices": []}',
        '{"failed": "a", "reason": null}',
        '{"batch_file": "f", "batch": "", "requests": [[7, 1]]}',
        '{"batch_ended": "f"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_event_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    """Whatever it holds: what it says of costs would be added to the budget."""
    path = tmp_path / "journal.jsonl"
    Journal.open(path, fingerprint={"model": "m"}).record_request("a", 1.0)
    with path.open("a") as file:
        file.write(line + "\n")

    with pytest.raises(PoolError, match=r"journal\.jsonl line 3: .*damaged.*restore it from a copy"):
        Journal.open(path, fingerprint={"model": "m"})


def test_a_missing_line_is_noticed(tmp_path: Path) -> None:
    """Without its settings, a journal would fit any; without a request, its cost would not be counted."""
    path = tmp_path / "journal.jsonl"
    journal = Journal.open(path, fingerprint={"model": "m"})
    journal.record_request("a", 1.0)
    journal.record_request("b", 1.0)
    lines = path.read_text().splitlines(keepends=True)

    for number in (1, 2):
        path.write_text("".join(line for index, line in enumerate(lines, 1) if index != number))
        with pytest.raises(PoolError, match=rf"line {number}: .*damaged"):
            Journal.open(path, fingerprint={"model": "m"})
