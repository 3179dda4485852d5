import pytest

from understudy.pool.token_arrays import Targets, TokenArrays

RAGGED = [[5, 6, 7], [], [8], [2**31 - 1, 0]]


def test_ragged_texts_read_back() -> None:
    """Empty ones and the largest id included."""
    texts = TokenArrays.of(RAGGED)

    assert [texts[row].tolist() for row in range(4)] == RAGGED
    assert len(texts) == 4
    assert texts.lengths.tolist() == [3, 0, 1, 2]


def test_no_texts_are_texts() -> None:
    """A mixture may hold none of a kind."""
    texts = TokenArrays.of([])

    assert (len(texts), len(texts.lengths), len(texts.flat)) == (0, 0, 0)


def test_a_text_too_far_is_an_error() -> None:
    """A wrong row does not read its neighbour."""
    with pytest.raises(IndexError):
        TokenArrays.of(RAGGED)[4]


def test_targets_know_their_source() -> None:
    """A source has as many rows as targets, in their order; a source without has none."""
    targets = Targets.of([[[1], [2, 3]], [], [[4]]])

    assert targets.counts.tolist() == [2, 0, 1]
    assert [[targets.texts[row].tolist() for row in targets.rows(source)] for source in range(3)] == [
        [[1], [2, 3]],
        [],
        [[4]],
    ]
