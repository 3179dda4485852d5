import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api_teacher.greedy import Greedy

from understudy.api_teacher.logprob_alignment import Aligned, Position, aligned
from understudy.errors import ConfigError

CHARACTERS = ["a", "b", " ", "é", "世", "🙂"]


def said(token: bytes, *others: tuple[bytes, float], p: float = 0.5) -> Position:
    """A token and others, with probabilities; the token stands among them, as servers have it."""
    top = sorted([(token, p), *others], key=lambda pair: -pair[1])
    return Position(token, math.log(p), tuple((name, math.log(mass)) for name, mass in top))


def ids_of(pieces: Greedy, *tokens: bytes) -> list[int]:
    """The ids of these tokens, and the end."""
    return [*(pieces.pieces.index(token) for token in tokens), 0]


def row_of(found: Aligned, row: int) -> dict[int, float]:
    """Id -> probability, of the entries that are there."""
    pairs = zip(found.ids_TK[row].tolist(), found.logp_TK[row].tolist(), strict=True)
    return {token_id: math.exp(logp) for token_id, logp in pairs if logp > -math.inf}


def test_a_token_of_both_has_the_endpoints_distribution() -> None:
    """Alternatives go to the id that is theirs, or to the first of several; what maps nowhere is left out."""
    pieces = Greedy(b"He", b"Hi", b"llo", b"lp")
    positions = [said(b"He", (b"Hi", 0.2), (b"Hillo", 0.1), (b"", 0.05), (b"?", 0.05)), said(b"llo", (b"lp", 0.5))]
    found = aligned(positions, ids_of(pieces, b"He", b"llo"), pieces, text=b"Hello", start=0, kept=3)

    assert found.how == ("exact", "exact", "text")
    assert row_of(found, 0) == pytest.approx({1: 0.5, 2: 0.3})
    assert row_of(found, 1) == pytest.approx({3: 0.5, 4: 0.5})
    assert row_of(found, 2) == {0: 1.0}


def test_a_longer_student_token_is_a_product_over_the_endpoints() -> None:
    """What might have followed the first piece takes part with the first piece's probability."""
    pieces = Greedy(b"Hello", b"Hel", b"He", b"H", b"l", b"p", b"A")
    positions = [said(b"H", (b"A", 0.4), (b"Hello", 0.1)), said(b"el", (b"e", 0.5)), said(b"lo", (b"p", 0.5))]
    found = aligned(positions, ids_of(pieces, b"Hello"), pieces, text=b"Hello", start=0, kept=6)

    assert found.how == ("merged", "text")
    # Hello at once and in three pieces; "He" as a whole; "Help", whose first piece is "Hel".
    assert row_of(found, 0) == pytest.approx({1: 0.1 + 0.125, 3: 0.25, 2: 0.125, 7: 0.4})


def test_a_shorter_student_token_is_the_first_piece_of_the_endpoints() -> None:
    """The next begins where nothing was told, and is its label alone."""
    pieces = Greedy(b"Hel", b"lo", b"Hallo", b"l")
    positions = [said(b"Hello", (b"Hallo", 0.2), (b"Help", 0.1), (b"Hel", 0.1))]
    found = aligned(positions, ids_of(pieces, b"Hel", b"lo"), pieces, text=b"Hello", start=0, kept=2)

    assert found.how == ("merged", "text", "text")
    assert row_of(found, 0) == pytest.approx({1: 0.7, 3: 0.2})
    assert row_of(found, 1) == {2: 1.0}


def test_the_target_is_kept_and_the_others_are_the_most_probable() -> None:
    """In falling order; with fewer than K, other ids stand at minus infinity."""
    pieces = Greedy(b"a", b"b", b"c", b"d")
    position = said(b"d", (b"a", 0.2), (b"b", 0.4), (b"c", 0.3), p=0.1)
    few, many = (aligned([position], [4], pieces, text=b"d", start=0, kept=kept) for kept in (2, 5))

    assert few.ids_TK.tolist() == [[2, 4]]
    assert many.ids_TK.tolist() == [[2, 3, 1, 4, 0]]
    assert many.logp_TK[0, 4] == -math.inf
    assert (few.ids_TK.dtype, few.logp_TK.dtype) == (np.dtype(np.int32), np.dtype(np.float32))


def test_a_token_that_is_no_text_is_a_piece_without_bytes() -> None:
    """It was written with its probability, and another might have been; as an alternative it maps nowhere."""
    pieces = Greedy(b"Hello", b"He", b"Help")
    positions = [said(b"He"), said(b"", (b"llo", 0.3), (b"lp", 0.2)), said(b"llo", (b"", 0.5))]
    found = aligned(positions, ids_of(pieces, b"Hello"), pieces, text=b"Hello", start=0, kept=3)

    assert row_of(found, 0) == pytest.approx({1: 0.5 * 0.3 + 0.5 * 0.5 * 0.5, 3: 0.1})


def test_what_spells_the_target_otherwise_is_the_target() -> None:
    """Another id with its bytes is not meant; nor is one that holds the endpoint's whole token, of which it is part."""
    twice, parts = Greedy(b"Hello", b"Hello"), Greedy(b"Hel", b"lo", b"Hello")
    short = aligned([said(b"He", (b"Hello", 0.25)), said(b"llo!")], [2], twice, text=b"Hello", start=0, kept=1)
    long = aligned([said(b" Hello", (b"Hello", 0.25))], [1, 2], parts, text=b"Hello", start=1, kept=2)

    assert row_of(short, 0) == pytest.approx({2: 0.5})
    assert row_of(long, 0) == pytest.approx({1: 0.75})


@pytest.mark.parametrize("more", [b"!", b"\n\n"])
def test_an_endpoint_token_may_end_behind_the_text(more: bytes) -> None:
    """What a parser took away behind the text makes no difference."""
    pieces = Greedy(b"yes", b"no")
    found = aligned([said(b"yes" + more, (b"yes", 0.2), (b"no", 0.3))], [1, 0], pieces, text=b"yes", start=0, kept=2)

    assert found.how == ("merged", "text")
    assert row_of(found, 0) == pytest.approx({1: 0.7, 2: 0.3})


@pytest.mark.parametrize("blank", [b" ", b"\n ", "\u3000".encode()])
def test_white_space_before_the_text_is_no_part_of_its_first_token(blank: bytes) -> None:
    """Nor of what is named beside it: with and without it is one token, and nothing but white space is none."""
    pieces, half = Greedy(b"Hello", b"Hi", b"\xf0\x9f"), b"\xf0\x9f"
    first = said(blank + b"Hello", (b"Hello", 0.1), (b" Hi", 0.2), (b"\n", 0.1), (b" " + half, 0.05))
    text, start = b"Hello", 1 + len(blank)
    found = aligned([said(b":"), first], [1, 0], pieces, text=text, start=start, kept=4)

    assert found.how == ("exact", "text")
    assert row_of(found, 0) == pytest.approx({1: 0.6, 2: 0.2, 3: 0.05})


def test_a_frame_before_the_text_breaks_its_first_token() -> None:
    """The first is its label alone until the endpoint's next token begins."""
    pieces = Greedy(b"He", b"l", b"lo")
    found = aligned([said(b'"Hel'), said(b"lo")], [1, 2, 3, 0], pieces, text=b"Hello", start=1, kept=2)

    assert found.how == ("text", "text", "exact", "text")


@pytest.mark.parametrize(("first", "how"), [(b" Hello", "exact"), (b" ", "merged")])
def test_the_space_that_a_tokenizer_puts_before_a_text_is_put_before_the_endpoints_tokens(
    first: bytes, how: str
) -> None:
    """As one piece with the first word, or as a piece of its own."""
    pieces = Greedy(b" Hello", b" ", b"Hi", b"Hello", b" Hi")
    target = [1, 0] if first == b" Hello" else [2, 4, 0]
    first_said = said(b"\nHello", (b"Hi", 0.3), (b"\n", 0.1))
    found = aligned([first_said], target, pieces, text=b"Hello", start=1, kept=3)

    assert found.how == (how, *["text"] * (len(target) - 1))
    assert row_of(found, 0) == pytest.approx({target[0]: 0.5, 5: 0.3})


@pytest.mark.parametrize(
    ("target", "text", "start"),
    [([1, 0], b"no", 0), ([1, 0], b"yes", 1), ([1, 0], b"yes", -4), ([2, 0], b"yes", 0), ([0, 1, 2, 0], b"yes", 0)],
)
def test_bytes_that_do_not_fit_leave_the_labels_alone(target: list[int], text: bytes, start: int) -> None:
    """An answer that does not hold the text there, or tokens that do not spell it."""
    found = aligned([said(b"yes!", (b"no", 0.5))], target, Greedy(b"yes", b"no"), text=text, start=start, kept=2)

    assert set(found.how) == {"text"}
    assert [row_of(found, row) for row in range(len(target))] == [{token_id: 1.0} for token_id in target]


def test_a_special_token_before_the_text_is_its_label_alone() -> None:
    """BART opens a target with one; what follows is aligned, also behind a token of the endpoint that is no text."""
    found = aligned([said(b""), said(b"yes")], [0, 1, 0], Greedy(b"yes", b"no"), text=b"yes", start=0, kept=1)

    assert found.how == ("text", "exact", "text")


def test_a_probability_that_is_not_told_is_left_to_the_rest() -> None:
    """Servers write -9999 for a token that is none of their most probable; it is in its row, and absent."""
    position = Position(b"yes", -9999.0, ((b"no", math.log(0.9)), (b"or", -9999.0)))
    found = aligned([position], [1], Greedy(b"yes", b"no", b"or"), text=b"yes", start=0, kept=3)

    assert found.ids_TK.tolist() == [[2, 1, 3]]
    assert row_of(found, 0) == pytest.approx({2: 0.9})


def test_roundings_above_one_are_scaled_to_one() -> None:
    """The proportions stay."""
    found = aligned([said(b"yes", (b"no", 0.52))], [1], Greedy(b"yes", b"no"), text=b"yes", start=0, kept=2)

    assert row_of(found, 0) == pytest.approx({1: 0.5 / 1.02, 2: 0.52 / 1.02})


@pytest.mark.parametrize("kept", [0, 4])
def test_more_tokens_than_there_are_cannot_be_kept(kept: int) -> None:
    """Nor none at all."""
    with pytest.raises(ConfigError, match=rf"{kept} tokens were to be kept.*a student that has 3; keep at least 1"):
        aligned([said(b"yes")], [1], Greedy(b"yes", b"no"), text=b"yes", start=0, kept=kept)


def pieces_of(text: bytes, cuts: Sequence[int]) -> list[bytes]:
    """A text cut at some places, wherever they fall."""
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, list[bytes], list[Position]]:
    """A text, as a student and as an endpoint cut it; what the endpoint names at each token is all there is."""
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
@given(answers(), st.integers(0, 10))
def test_no_probability_is_lost_or_counted_twice(answer: tuple[bytes, list[bytes], list[Position]], kept: int) -> None:
    """Where the endpoint names all there is, a row adds up to one; with fewer kept, what is left is the smallest."""
    text, student, positions = answer
    single = {bytes([byte]) for byte in text}
    pieces = Greedy(*sorted(single | set(student)))
    target = ids_of(pieces, *student)
    whole = aligned(positions, target, pieces, text=text, start=0, kept=len(pieces))
    part = aligned(positions, target, pieces, text=text, start=0, kept=min(1 + kept, len(pieces)))
    begins = np.cumsum([0, *(len(position.token) for position in positions)])[:-1]
    own = np.cumsum([0, *map(len, student)])

    for row, token_id in enumerate(target):
        masses, few = row_of(whole, row), row_of(part, row)
        assert (whole.how[row] == "text") == (own[row] not in begins)
        assert sum(masses.values()) == pytest.approx(1, abs=1e-6)
        assert len(set(whole.ids_TK[row])) == len(pieces)
        assert len(set(part.ids_TK[row])) == part.ids_TK.shape[1]
        assert token_id in few
        others = sorted((mass for other, mass in masses.items() if other != token_id), reverse=True)
        assert sorted(few.values()) == sorted([masses[token_id], *others[: part.ids_TK.shape[1] - 1]])
