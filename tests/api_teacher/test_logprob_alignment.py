"""Alignment of an API teacher's log-probabilities, on small cases computed by hand and as properties."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api_teacher.longest_match import LongestMatch

from understudy.api_teacher.logprob_alignment import AlignedLogprobs, Position, align_logprobs
from understudy.errors import ConfigError

CHARACTERS = ["a", "b", " ", "é", "世", "🙂"]


def token_at(token: bytes, *others: tuple[bytes, float], p: float = 0.5) -> Position:
    """A token and alternatives with probabilities; the token is listed among them, as servers do."""
    top = sorted([(token, p), *others], key=lambda pair: -pair[1])
    return Position(token, math.log(p), tuple((name, math.log(mass)) for name, mass in top))


def ids_of(student: LongestMatch, *tokens: bytes) -> list[int]:
    """The ids of these tokens, and of the end."""
    return [*(student.tokens.index(token) for token in tokens), 0]


def row_of(aligned: AlignedLogprobs, row: int) -> dict[int, float]:
    """Id -> probability, of the entries that are present."""
    pairs = zip(aligned.ids_TK[row].tolist(), aligned.logp_TK[row].tolist(), strict=True)
    return {token_id: math.exp(logp) for token_id, logp in pairs if logp > -math.inf}


def test_a_shared_token_has_the_teachers_distribution() -> None:
    """Alternatives map to the id with their bytes, or to the first of several tokens; others are left out."""
    tokens = LongestMatch(b"He", b"Hi", b"llo", b"lp")
    positions = [
        token_at(b"He", (b"Hi", 0.2), (b"Hillo", 0.1), (b"", 0.05), (b"?", 0.05)),
        token_at(b"llo", (b"lp", 0.5)),
    ]
    aligned = align_logprobs(positions, ids_of(tokens, b"He", b"llo"), tokens, text=b"Hello", start=0, kept=3)

    assert aligned.kinds == ("exact", "exact", "text")
    assert row_of(aligned, 0) == pytest.approx({1: 0.5, 2: 0.3})
    assert row_of(aligned, 1) == pytest.approx({3: 0.5, 4: 0.5})
    assert row_of(aligned, 2) == {0: 1.0}


def test_a_longer_student_token_is_a_product_of_the_teachers() -> None:
    """Alternatives after the first of the teacher's tokens are weighted by the first one's probability."""
    tokens = LongestMatch(b"Hello", b"Hel", b"He", b"H", b"l", b"p", b"A")
    positions = [
        token_at(b"H", (b"A", 0.4), (b"Hello", 0.1)),
        token_at(b"el", (b"e", 0.5)),
        token_at(b"lo", (b"p", 0.5)),
    ]
    aligned = align_logprobs(positions, ids_of(tokens, b"Hello"), tokens, text=b"Hello", start=0, kept=6)

    assert aligned.kinds == ("merged", "text")
    # "Hello" as one token and as three; "He" as a whole; "Help", whose first student token is "Hel".
    assert row_of(aligned, 0) == pytest.approx({1: 0.1 + 0.125, 3: 0.25, 2: 0.125, 7: 0.4})


def test_a_shorter_student_token_is_the_first_of_the_teachers_token() -> None:
    """The next student token begins within the teacher's token, and gets its label alone."""
    tokens = LongestMatch(b"Hel", b"lo", b"Hallo", b"l")
    positions = [token_at(b"Hello", (b"Hallo", 0.2), (b"Help", 0.1), (b"Hel", 0.1))]
    aligned = align_logprobs(positions, ids_of(tokens, b"Hel", b"lo"), tokens, text=b"Hello", start=0, kept=2)

    assert aligned.kinds == ("merged", "text", "text")
    assert row_of(aligned, 0) == pytest.approx({1: 0.7, 3: 0.2})
    assert row_of(aligned, 1) == {2: 1.0}


def test_the_target_and_the_most_probable_others_are_kept() -> None:
    """In descending order; a row with fewer than K entries is filled with other ids at minus infinity."""
    tokens = LongestMatch(b"a", b"b", b"c", b"d")
    position = token_at(b"d", (b"a", 0.2), (b"b", 0.4), (b"c", 0.3), p=0.1)
    few, many = (align_logprobs([position], [4], tokens, text=b"d", start=0, kept=kept) for kept in (2, 5))

    assert few.ids_TK.tolist() == [[2, 4]]
    assert many.ids_TK.tolist() == [[2, 3, 1, 4, 0]]
    assert many.logp_TK[0, 4] == -math.inf
    assert (few.ids_TK.dtype, few.logp_TK.dtype) == (np.dtype(np.int32), np.dtype(np.float32))


def test_a_token_without_text_takes_part_without_bytes() -> None:
    """Its probability and its alternatives count; as an alternative itself it maps to no student token."""
    tokens = LongestMatch(b"Hello", b"He", b"Help")
    positions = [token_at(b"He"), token_at(b"", (b"llo", 0.3), (b"lp", 0.2)), token_at(b"llo", (b"", 0.5))]
    aligned = align_logprobs(positions, ids_of(tokens, b"Hello"), tokens, text=b"Hello", start=0, kept=3)

    assert row_of(aligned, 0) == pytest.approx({1: 0.5 * 0.3 + 0.5 * 0.5 * 0.5, 3: 0.1})


def test_candidates_with_the_targets_bytes_map_to_the_target() -> None:
    """They map neither to another id with these bytes, nor to one with the teacher's whole token."""
    twice, parts = LongestMatch(b"Hello", b"Hello"), LongestMatch(b"Hel", b"lo", b"Hello")
    short = align_logprobs(
        [token_at(b"He", (b"Hello", 0.25)), token_at(b"llo!")], [2], twice, text=b"Hello", start=0, kept=1
    )
    long = align_logprobs([token_at(b" Hello", (b"Hello", 0.25))], [1, 2], parts, text=b"Hello", start=1, kept=2)

    assert row_of(short, 0) == pytest.approx({2: 0.5})
    assert row_of(long, 0) == pytest.approx({1: 0.75})


@pytest.mark.parametrize("more", [b"!", b"\n\n"])
def test_a_teacher_token_may_end_after_the_text(more: bytes) -> None:
    """Bytes that the response filter removed after the text make no difference."""
    tokens = LongestMatch(b"yes", b"no")
    aligned = align_logprobs(
        [token_at(b"yes" + more, (b"yes", 0.2), (b"no", 0.3))], [1, 0], tokens, text=b"yes", start=0, kept=2
    )

    assert aligned.kinds == ("merged", "text")
    assert row_of(aligned, 0) == pytest.approx({1: 0.7, 2: 0.3})


@pytest.mark.parametrize("blank", [b" ", b"\n ", "\u3000".encode()])
def test_white_space_before_the_text_is_removed_from_its_first_token(blank: bytes) -> None:
    """And from its alternatives: with or without it they are one token; white space alone is none."""
    tokens, half = LongestMatch(b"Hello", b"Hi", b"\xf0\x9f"), b"\xf0\x9f"
    first = token_at(blank + b"Hello", (b"Hello", 0.1), (b" Hi", 0.2), (b"\n", 0.1), (b" " + half, 0.05))
    text, start = b"Hello", 1 + len(blank)
    aligned = align_logprobs([token_at(b":"), first], [1, 0], tokens, text=text, start=start, kept=4)

    assert aligned.kinds == ("exact", "text")
    assert row_of(aligned, 0) == pytest.approx({1: 0.6, 2: 0.2, 3: 0.05})


def test_a_token_that_begins_before_the_text_is_not_used() -> None:
    """The student's tokens get their labels alone until the teacher's next token begins."""
    tokens = LongestMatch(b"He", b"l", b"lo")
    aligned = align_logprobs([token_at(b'"Hel'), token_at(b"lo")], [1, 2, 3, 0], tokens, text=b"Hello", start=1, kept=2)

    assert aligned.kinds == ("text", "text", "exact", "text")


@pytest.mark.parametrize(("first", "kind"), [(b" Hello", "exact"), (b" ", "merged")])
def test_a_prepended_space_of_the_student_is_prepended_to_the_teachers_tokens(first: bytes, kind: str) -> None:
    """The space is part of the first word's token, or a token of its own."""
    tokens = LongestMatch(b" Hello", b" ", b"Hi", b"Hello", b" Hi")
    target = [1, 0] if first == b" Hello" else [2, 4, 0]
    first_position = token_at(b"\nHello", (b"Hi", 0.3), (b"\n", 0.1))
    aligned = align_logprobs([first_position], target, tokens, text=b"Hello", start=1, kept=3)

    assert aligned.kinds == (kind, *["text"] * (len(target) - 1))
    assert row_of(aligned, 0) == pytest.approx({target[0]: 0.5, 5: 0.3})


@pytest.mark.parametrize(
    ("target", "text", "start"),
    [([1, 0], b"no", 0), ([1, 0], b"yes", 1), ([1, 0], b"yes", -4), ([2, 0], b"yes", 0), ([0, 1, 2, 0], b"yes", 0)],
)
def test_bytes_that_do_not_match_give_labels_alone(target: list[int], text: bytes, start: int) -> None:
    """The response has other bytes at `start`, or the student's tokens do not spell the text."""
    aligned = align_logprobs(
        [token_at(b"yes!", (b"no", 0.5))], target, LongestMatch(b"yes", b"no"), text=text, start=start, kept=2
    )

    assert set(aligned.kinds) == {"text"}
    assert [row_of(aligned, row) for row in range(len(target))] == [{token_id: 1.0} for token_id in target]


def test_a_special_token_before_the_text_is_its_label_alone() -> None:
    """BART begins a target with one; the rest is aligned, also after a token of the teacher without text."""
    aligned = align_logprobs(
        [token_at(b""), token_at(b"yes")], [0, 1, 0], LongestMatch(b"yes", b"no"), text=b"yes", start=0, kept=1
    )

    assert aligned.kinds == ("text", "exact", "text")


def test_an_unreported_probability_is_left_to_the_rest() -> None:
    """Servers write -9999 for an unlikely token; its id is in its row with no probability."""
    position = Position(b"yes", -9999.0, ((b"no", math.log(0.9)), (b"or", -9999.0)))
    aligned = align_logprobs([position], [1], LongestMatch(b"yes", b"no", b"or"), text=b"yes", start=0, kept=3)

    assert aligned.ids_TK.tolist() == [[2, 1, 3]]
    assert row_of(aligned, 0) == pytest.approx({2: 0.9})


def test_probabilities_that_add_up_to_more_than_one_are_scaled() -> None:
    """Their proportions stay the same."""
    aligned = align_logprobs(
        [token_at(b"yes", (b"no", 0.52))], [1], LongestMatch(b"yes", b"no"), text=b"yes", start=0, kept=2
    )

    assert row_of(aligned, 0) == pytest.approx({1: 0.5 / 1.02, 2: 0.52 / 1.02})


@pytest.mark.parametrize("kept", [0, 4])
def test_an_impossible_number_of_kept_tokens_is_refused(kept: int) -> None:
    """At least one token is kept, and at most as many as the student has."""
    with pytest.raises(ConfigError, match=rf"keep {kept} tokens.*has 3 tokens.*between"):
        align_logprobs([token_at(b"yes")], [1], LongestMatch(b"yes", b"no"), text=b"yes", start=0, kept=kept)


def pieces_of(text: bytes, cuts: Sequence[int]) -> list[bytes]:
    """A text split at some byte offsets, also within characters."""
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, list[bytes], list[Position]]:
    """A text as student and teacher tokenize it; the teacher's listed alternatives have all of the probability."""
    text = "".join(draw(st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=8))).encode()
    student, endpoint = (pieces_of(text, draw(st.lists(st.integers(0, 99), max_size=9))) for _ in range(2))
    stretches = st.tuples(st.integers(0, 40), st.integers(1, 6)).map(
        lambda pair: (text * 9)[pair[0] % len(text) :][: pair[1]]
    )
    positions = []
    for token in endpoint:
        names = [token, *sorted(draw(st.sets(stretches, max_size=5)) - {token})]
        weights = [draw(st.integers(1, 9)) for _ in names]
        top = tuple((name, math.log(weight / sum(weights))) for name, weight in zip(names, weights, strict=True))
        positions.append(Position(token, top[0][1], top))
    return text, student, positions


@settings(max_examples=300, deadline=None, derandomize=True)
@given(responses(), st.integers(0, 10))
def test_no_probability_is_lost_or_counted_twice(
    response: tuple[bytes, list[bytes], list[Position]], kept: int
) -> None:
    """If the teacher lists all alternatives, a row adds up to one; with fewer kept, the least probable are left out."""
    text, student, positions = response
    single = {bytes([byte]) for byte in text}
    tokens = LongestMatch(*sorted(single | set(student)))
    target = ids_of(tokens, *student)
    whole = align_logprobs(positions, target, tokens, text=text, start=0, kept=len(tokens))
    part = align_logprobs(positions, target, tokens, text=text, start=0, kept=min(1 + kept, len(tokens)))
    begins = np.cumsum([0, *(len(position.token) for position in positions)])[:-1]
    own = np.cumsum([0, *map(len, student)])

    for row, token_id in enumerate(target):
        masses, few = row_of(whole, row), row_of(part, row)
        assert (whole.kinds[row] == "text") == (own[row] not in begins)
        assert sum(masses.values()) == pytest.approx(1, abs=1e-6)
        assert len(set(whole.ids_TK[row])) == len(tokens)
        assert len(set(part.ids_TK[row])) == part.ids_TK.shape[1]
        assert token_id in few
        others = sorted((mass for other, mass in masses.items() if other != token_id), reverse=True)
        assert sorted(few.values()) == sorted([masses[token_id], *others[: part.ids_TK.shape[1] - 1]])
