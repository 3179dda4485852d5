"""From a journal to pseudo-targets, predictions, references and facts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from understudy.api_teacher.collect import endpoint_for
from understudy.api_teacher.journal import CompletionChoice, Journal
from understudy.api_teacher.responses import (
    pool_rows,
    predictions_of,
    response_facts,
    tokenized_rows,
    with_teacher_references,
)
from understudy.api_teacher.scheduler import PromptGroup
from understudy.config.decoding import Greedy, Sampling
from understudy.config.endpoint import Endpoint, Server
from understudy.errors import GenerationError, PoolError
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import write_pool_file
from understudy.records import Example, Prediction, TaskData

ENDPOINT = Endpoint(model="m", per_input=2)
EXAMPLES = [Example("1", "a", ("gold a",)), Example("2", "b", ("gold b",)), Example("3", "c", ("gold c",))]


def journal_of(folder: Path, texts: Mapping[str, Sequence[str]]) -> Journal:
    """A journal with these texts by source; each source is a request at a cost of 1."""
    journal = Journal.open(folder / "journal.jsonl", fingerprint={})
    for source, own in texts.items():
        request = journal.record_request(source, 5.0)
        journal.record_end(request, cost=1.0, choices=[CompletionChoice(text, "stop") for text in own])
    return journal


def test_usable_texts_become_numbered_rows(tmp_path: Path) -> None:
    """Rejected texts and texts beyond per_input are left out; repeated texts are counted as copies."""
    journal = journal_of(tmp_path, {"a": ["A", "A", "more"], "b": ["", "B"]})
    rows = pool_rows(EXAMPLES, journal, ENDPOINT)

    assert [(row.input_id, row.sample, row.text, row.copies) for row in rows] == [
        ("1", 0, "A", 2),
        ("1", 1, "A", 2),
        ("2", 0, "B", 1),
    ]
    assert {(row.generator, row.token_ids) for row in rows} == {("api", ())}


def test_a_journal_without_a_usable_text_is_refused(tmp_path: Path) -> None:
    """The message counts the reasons and names the settings."""
    with pytest.raises(GenerationError, match=r"empty: 2.*teacher\.endpoint\.prompt.*teacher\.endpoint\.answer"):
        pool_rows(EXAMPLES, journal_of(tmp_path, {"a": [""], "b": [""]}), ENDPOINT)


def pool_of(folder: Path, texts: Mapping[str, Sequence[str]]) -> PseudoTargetPool:
    """The pool of these texts by source."""
    write_pool_file(folder / "pool.parquet", pool_rows(EXAMPLES, journal_of(folder, texts), ENDPOINT), {})
    return PseudoTargetPool.open(folder)


def encode(texts: Sequence[str]) -> list[list[int]]:
    """A token per character."""
    return [list(map(ord, text)) for text in texts]


def test_tokenized_rows_keep_their_sample_numbers_and_are_never_truncated(tmp_path: Path) -> None:
    """Rows are in the order of the inputs; texts over the limit are left out."""
    responses = pool_of(tmp_path, {"a": ["AAAA", "A"], "b": ["B", "BB"]})
    rows = tokenized_rows(responses, ["2", "1", "unknown"], encode, max_tokens=2)

    assert [(row.input_id, row.sample, row.token_ids) for row in rows] == [
        ("2", 0, (66,)),
        ("2", 1, (66, 66)),
        ("1", 1, (65,)),
    ]


def test_a_limit_that_no_text_meets_is_refused(tmp_path: Path) -> None:
    """The message has the setting and its value."""
    with pytest.raises(PoolError, match=r"2 texts.*task\.max_target_tokens \(0\).*raise"):
        tokenized_rows(pool_of(tmp_path, {"a": ["A", "B"]}), ["1"], encode, max_tokens=0)


def test_with_human_references_an_unusable_response_is_an_empty_prediction(tmp_path: Path) -> None:
    """A score leaves no input out; only the first text is the prediction."""
    journal = journal_of(tmp_path, {"a": ["A", "other"], "b": [""]})

    assert predictions_of("test", EXAMPLES, journal, ENDPOINT, teacher_references=False) == [
        Prediction("1", "a", ("gold a",), "A"),
        Prediction("2", "b", ("gold b",), ""),
        Prediction("3", "c", ("gold c",), ""),
    ]


def test_with_references_by_the_teacher_the_first_usable_text_is_the_reference(tmp_path: Path) -> None:
    """The other text is the prediction, empty if unusable; an input without a usable text is left out."""
    journal = journal_of(tmp_path, {"a": ["A1", "A2"], "b": ["", "B2"], "c": ["", ""]})

    assert predictions_of("test", EXAMPLES, journal, ENDPOINT, teacher_references=True) == [
        Prediction("1", "a", ("A1",), "A2"),
        Prediction("2", "b", ("B2",), ""),
    ]
    with pytest.raises(GenerationError, match=r"1 inputs of dev.*teacher\.endpoint\.prompt"):
        predictions_of("dev", EXAMPLES[2:], journal, ENDPOINT, teacher_references=True)


def test_references_by_the_teacher_replace_a_split() -> None:
    """Inputs without a reference are no longer in the split; other splits are unchanged."""
    data = TaskData((), (), dev=tuple(EXAMPLES), test=tuple(EXAMPLES))
    changed = with_teacher_references(data, {"dev": [Prediction("2", "b", ("B",), "x")]})

    assert changed.dev == (Example("2", "b", ("B",)),)
    assert changed.test == data.test


def test_facts_count_over_all_groups(tmp_path: Path) -> None:
    """Reasons are summed, requests and costs are the journal's; without a price there is no cost."""
    journal = journal_of(tmp_path, {"a": ["A", ""], "b": [""]})
    journal.record_failure("c", "timeout")
    single = ENDPOINT.model_copy(update={"per_input": 1})
    facts = response_facts([PromptGroup(EXAMPLES[:1], ENDPOINT), PromptGroup(EXAMPLES[1:], single)], journal)

    assert (facts.model, facts.inputs, facts.requests, facts.spent) == ("m", 3, 2, None)
    assert (facts.rejected, facts.failed) == ({"empty": 2}, {"timeout": 1})


def test_a_recipes_decoding_sets_the_endpoints_sampling() -> None:
    """Sampling passes temperature and top_p, any other decoding is temperature 0."""
    server = Server(model="m", max_tokens=7)
    sampled = endpoint_for(server, Sampling(temperature=1.5, top_p=0.9), 4)
    greedy = endpoint_for(server, Greedy(), 1)

    assert (sampled.temperature, sampled.top_p, sampled.per_input, sampled.max_tokens) == (1.5, 0.9, 4, 7)
    assert (greedy.temperature, greedy.top_p, greedy.per_input) == (0.0, 1.0, 1)
