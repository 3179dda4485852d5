import random
from functools import cache

import pytest
from tests.evaluation.tallied import tallied

from understudy.evaluation.edits import word_edits
from understudy.records import Prediction


def naive_edits(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Levenshtein's distance by its definition: the best of three last steps."""

    @cache
    def edits(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return edits(len(one), len(other))


@pytest.mark.parametrize("seed", range(30))
def test_edits_are_those_of_the_definition(seed: int) -> None:
    """A recursion over last steps gives the same number, and the way back is as long."""
    rng = random.Random(seed)
    one, other = (tuple(rng.choices("abc", k=rng.randint(0, 9))) for _ in range(2))

    assert word_edits(one, other) == word_edits(other, one) == naive_edits(one, other)


def test_the_rate_is_of_all_words_of_the_split() -> None:
    """Two edits in a reference of four words and none in one of six: two in ten."""
    predictions = [Prediction("0", "", ("a b c d",), "a x c"), Prediction("1", "", ("a b c d e f",), "a b c d e f")]
    result = tallied("wer", predictions)

    assert result.value() == pytest.approx(100 * 2 / 10)
    assert not result.higher_is_better
    assert "|case:mixed|tok:none|" in result.signature


def test_the_closest_reference_counts() -> None:
    """Fewest edits win; of equally close references, the longest."""
    statistics_ND = tallied("wer", [Prediction("0", "", ("x y", "a b", "a", "a b c"), "a b")]).statistics_ND
    tied_ND = tallied("wer", [Prediction("0", "", ("a", "a b c"), "a b")]).statistics_ND

    assert statistics_ND.tolist() == [[0, 2]]
    assert tied_ND.tolist() == [[100, 3]]


def test_a_long_text_has_more_errors_than_words() -> None:
    """Four words too many for a reference of two are 200 %."""
    assert tallied("wer", [Prediction("0", "", ("a b",), "a b c d e f")]).value() == 200
