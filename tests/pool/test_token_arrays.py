import pytest

from understudy.pool.token_arrays import Targets, TokenArrays

RAGGED = [[5, 6, 7], [], [8], [2**31 - 1, 0]]


def test_ragged_texts_are_returned_as_packed() -> None:
    """Empty texts and the largest id included."""
    texts = TokenArrays.of(RAGGED)

    assert [texts[row].tolist() for row in range(4)] == RAGGED
    assert len(texts) == 4
    assert texts.lengths.tolist() == [3, 0, 1, 2]


def test_no_texts_can_be_packed() -> None:
    """A mixture may have no texts of a generator."""
    texts = TokenArrays.of([])

    assert (len(texts), len(texts.lengths), len(texts.flat)) == (0, 0, 0)


def test_an_index_out_of_range_is_an_error() -> None:
    """A wrong row does not return another text."""
    with pytest.raises(IndexError):
        TokenArrays.of(RAGGED)[4]


def test_targets_belong_to_their_source() -> None:
    """A source has one row per target, in order; a source without targets has none."""
    targets = Targets.of([[[1], [2, 3]], [], [[4]]])

    assert targets.counts.tolist() == [2, 0, 1]
    assert [[targets.texts[row].tolist() for row in targets.rows(source)] for source in range(3)] == [
        [[1], [2, 3]],
        [],
        [[4]],
    ]
