"""Log-probabilities from the journal to the cache of the student's tokens."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.api_teacher.longest_match import LongestMatch

from understudy.api_teacher.journal import CompletionChoice, Journal
from understudy.api_teacher.response_logprobs import (
    AlignmentShares,
    ResponseLogprobs,
    align_response_logprobs,
    match_response_logprobs,
    read_response_logprobs,
    refuse_missing_logprobs,
    write_response_logprobs,
)
from understudy.api_teacher.responses import pool_rows
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import write_pool_file
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_VALUES
from understudy.records import Example

ENDPOINT = Endpoint(model="m", per_input=2, answer="<(.*)>")
EXAMPLES = [Example("1", "a"), Example("2", "b")]
STUDENT = LongestMatch(b"yes", b"no", b"maybe")


def choice(text: str, p: float | None) -> CompletionChoice:
    """A response <text>; its text is one token of probability p, with "no" as the alternative."""
    if p is None:
        return CompletionChoice(f"<{text}>", "stop")
    tokens: list[tuple[str, float, list[list[object]]]] = [
        ("<", 0.0, []),
        (text, math.log(p), [["no", math.log((1 - p) / 2)]]),
        (">", 0.0, []),
    ]
    return CompletionChoice(
        f"<{text}>", "stop", [{"token": token, "logprob": logp, "top": top} for token, logp, top in tokens]
    )


def written(folder: Path) -> tuple[PseudoTargetPool, Path, int]:
    """The pool of a journal, the file of its log-probabilities, and their number.

    Input 1 has its two texts from two requests, after the first of input 2, which also has a rejected and a third text.
    """
    journal = Journal.open(folder / "journal.jsonl", fingerprint={})
    responses = [
        ("b", [choice("maybe", 0.25), CompletionChoice("no tags", "stop")]),
        ("a", [choice("yes", 0.5)]),
        ("a", [choice("maybe", None), choice("yes", 0.125)]),
    ]
    for source, choices in responses:
        journal.record_end(journal.record_request(source, 1.0), cost=1.0, choices=choices)
    pool_folder, file = folder / "responses", folder / "logprobs.jsonl"
    pool_folder.mkdir()
    write_pool_file(pool_folder / "pool.parquet", pool_rows(EXAMPLES, journal, ENDPOINT), {})
    pool = PseudoTargetPool.open(pool_folder)
    return pool, file, write_response_logprobs(EXAMPLES, journal.path, ENDPOINT, pool, file)


def test_each_record_belongs_to_the_row_of_its_text(tmp_path: Path) -> None:
    """In the order received; texts without log-probabilities, rejected or beyond per_input have no record."""
    pool, file, count = written(tmp_path)
    records = list(read_response_logprobs(file))

    assert [row.text for row in pool] == ["yes", "maybe", "maybe"]
    assert [(record.row, record.response, record.start) for record in records] == [(2, "<maybe>", 1), (0, "<yes>", 1)]
    assert count == len(records)


def test_records_are_matched_to_the_training_pool_by_input_and_sample(tmp_path: Path) -> None:
    """The training pool may lack texts and be in another order."""
    responses, file, _ = written(tmp_path)
    (tmp_path / "training").mkdir()
    rows = {(row.input_id, row.sample): row for row in responses}
    write_pool_file(tmp_path / "training" / "pool.parquet", [rows["2", 0], rows["1", 1]], {})
    matched = match_response_logprobs(responses, PseudoTargetPool.open(tmp_path / "training"), file)

    assert [(row, record.response) for row, record in matched] == [(0, "<maybe>")]


def empty(positions: int, top_k: int) -> TeacherLogprobs:
    """Arrays to fill, in single precision."""
    return TeacherLogprobs(np.zeros((positions, top_k), np.int32), np.zeros((positions, top_k), np.float32))


def decode(token_ids: Sequence[int]) -> str:
    """The text of the student's tokens, without the end."""
    return b"".join(STUDENT.of(token_id) or b"" for token_id in token_ids).decode()


def test_texts_with_records_get_their_distribution_and_others_their_label(tmp_path: Path) -> None:
    """Every target ends with a special token, which has only its label; the shares are of all positions."""
    _, file, _ = written(tmp_path)
    maybe, yes = read_response_logprobs(file)
    texts = TokenArrays.of([[1, 0], [3, 0], [2, 0]])
    cache, amounts = empty(6, 2), list[float]()
    shares = align_response_logprobs(
        texts,
        [(1, replace(maybe, row=1)), (0, yes)],
        cache,
        token_bytes=STUDENT,
        decode=decode,
        progress=lambda amount, _note="", _values=NO_VALUES: amounts.append(amount),
    )
    ids_PK, p_PK = cache.ids_PK, np.exp(cache.logp_PK)

    assert shares == AlignmentShares(exact=2 / 6, merged=0.0, text=4 / 6)
    assert ids_PK[[0, 2, 4], 0].tolist() == [1, 2, 2]
    assert dict(zip(ids_PK[0].tolist(), p_PK[0].tolist(), strict=True)) == pytest.approx({1: 0.5, 2: 0.25})
    assert dict(zip(ids_PK[2].tolist(), p_PK[2].tolist(), strict=True)) == pytest.approx({2: 0.375, 3: 0.25})
    assert p_PK[[1, 3, 4, 5]].tolist() == [[1.0, 0.0]] * 4
    assert amounts == [1, 1, 1]


def test_texts_of_others_get_their_labels_alone() -> None:
    """Gold targets have no record at all."""
    cache = empty(2, 1)
    shares = align_response_logprobs(TokenArrays.of([[1, 0]]), (), cache, token_bytes=STUDENT, decode=decode)

    assert shares == AlignmentShares(0.0, 0.0, 1.0)
    assert cache.ids_PK.tolist() == [[1], [0]]


def test_tokens_without_text_before_the_response_do_not_move_its_start() -> None:
    """Some servers list tokens that the response does not contain."""
    record = ResponseLogprobs(
        0,
        "yes",
        0,
        [{"token": "BOS ", "logprob": 0.0, "top": []}, {"token": "yes", "logprob": math.log(0.5), "top": []}],
    )
    cache = empty(1, 1)
    shares = align_response_logprobs(TokenArrays.of([[1]]), [(0, record)], cache, token_bytes=STUDENT, decode=decode)

    assert shares.exact == 1.0
    assert cache.logp_PK.item() == pytest.approx(math.log(0.5))


def test_responses_without_any_log_probability_are_refused() -> None:
    """The message has the number of texts and the method that needs none; one text is enough."""
    refuse_missing_logprobs(5, 1)
    with pytest.raises(GenerationError, match=r"0 of 5 texts.*extreme_fine_tune"):
        refuse_missing_logprobs(5, 0)
