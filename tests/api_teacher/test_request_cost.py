from pathlib import Path

import pytest

from understudy.api_teacher.journal import CompletionChoice, Journal
from understudy.api_teacher.request_cost import RequestCost, mean_request_cost

TEXT = CompletionChoice("a text", "stop")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty journal."""
    return Journal.open(tmp_path / "journal.jsonl", fingerprint={"model": "m"})


def answer(journal: Journal, cost: float | None, texts: int) -> None:
    """Records a request and how it ended; one without texts has failed."""
    request = journal.record_request(f"source {journal.requests}", 1.0)
    journal.record_end(request, cost=cost, choices=[TEXT] * texts, failure="" if texts else "timeout")


def test_the_mean_is_over_answered_requests_for_the_fewest_texts(journal: Journal) -> None:
    """Requests for many texts, failed ones and those of unknown cost take no part."""
    for cost, texts in ((0.5, 8), (0.125, 1), (0.375, 1), (0.9, 0), (None, 1)):
        answer(journal, cost, texts)

    assert mean_request_cost(journal.path) == RequestCost(1, 0.25)


def test_without_an_answer_of_known_cost_there_is_none(journal: Journal) -> None:
    """As with responses that were imported, or a server that does not report tokens."""
    answer(journal, None, 1)
    journal.import_responses([("another", TEXT)])

    assert mean_request_cost(journal.path) is None
