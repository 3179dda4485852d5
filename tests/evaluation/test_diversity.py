from collections.abc import Sequence

import numpy as np
import pytest
from tests.evaluation.tallied import tallied

from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.diversity import repeats
from understudy.records import Prediction

TEXTS = ["it is cold today", "it is warm today", "snow", "", "it is it is cold"]


def of(texts: Sequence[str]) -> list[Prediction]:
    """Predictions with these texts."""
    return [Prediction(str(index), "", (), text) for index, text in enumerate(texts)]


def share_of_distinct(texts: Sequence[str], order: int) -> float:
    """Distinct-n by its definition, in percent."""
    ngrams = [
        tuple(words[start : start + order])
        for words in (text.split() for text in texts)
        for start in range(len(words) - order + 1)
    ]
    return 100 * len(set(ngrams)) / len(ngrams)


@pytest.mark.parametrize("order", [1, 2])
def test_the_value_is_the_share_of_distinct_ngrams(order: int) -> None:
    """The rows add up to the number of different n-grams over the number of all."""
    assert tallied(f"distinct_{order}", of(TEXTS)).value() == pytest.approx(share_of_distinct(TEXTS, order))


@pytest.mark.parametrize("order", [1, 2])
def test_the_rows_know_what_leaving_out_an_example_does(order: int) -> None:
    """Without an example's own row, and with the shared n-grams kept whole, the score is that of the rest."""
    statistics_ND = tallied(f"distinct_{order}", of(TEXTS)).statistics_ND
    for left_out in range(len(TEXTS)):
        rest = TEXTS[:left_out] + TEXTS[left_out + 1 :]
        # An empty text's row is exactly its part of the shared n-grams.
        top, bottom = statistics_ND.sum(axis=0) - statistics_ND[left_out] + [statistics_ND[TEXTS.index(""), 0], 0]
        assert top / bottom == pytest.approx(share_of_distinct(rest, order))


def test_the_interval_holds_the_value() -> None:
    """Repeated examples do not look like a loss of diversity."""
    rng = np.random.default_rng(0)
    texts = [" ".join(map(str, rng.zipf(1.4, size=8))) for _ in range(100)]
    result = score(tallied("distinct_1", of(texts)), resample_weights(100, seed=0))

    assert result.low < result.value < result.high


def test_texts_without_ngrams_are_not_distinct() -> None:
    """Nothing written scores zero."""
    assert tallied("distinct_2", of(["", "snow"])).value() == 0


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("the cat sat on the mat, and then the cat sat on it", True),
        ("U" * 60, True),
        ("20.7.7.7.2020202020", True),
        ("see AB4, see AB4, see AB74", True),
        ("日，成都天气多云，气温-" * 3, True),
        ("122月2222222222222222月2222", True),
        ("U" * 16 + "a long text that otherwise is one", False),
        ("4月6日，成都天气小雨，气温28度。", False),
        ("from $1,000,000 to 2000000 in New York, New York", False),
        ("haha", False),
        ("", False),
    ],
)
def test_texts_that_repeat(text: str, *, repeated: bool) -> None:
    """Four words twice, or loops within words, of few words and without spaces that cover half of the text."""
    assert repeats(text) is repeated
