from statistics import mean

import pytest
import sacrebleu

from understudy.errors import PoolError
from understudy.pool.selection import (
    Candidates,
    agreement,
    char_ngrams,
    closest_to_gold,
    distinct,
    mbr,
    most_probable,
    sentence_chrf,
)
from understudy.records import PseudoTarget

TEXTS = ["rain in the north", "rain in the  north.", "sun", "", "ab", "Größe: 3 °C, 3 °C", "aaaaaaa", "aaa"]
UNKNOWN = float("nan")


def candidates(*texts: str, logprobs: tuple[float, ...] = (), gold: tuple[str, ...] = ()) -> Candidates:
    """Texts of one input, two tokens each, with their log-probabilities."""
    known = logprobs or (-1.0,) * len(texts)
    rows = [
        PseudoTarget("a", "teacher", 0, place, (7, 1), text, logprob)
        for place, (text, logprob) in enumerate(zip(texts, known, strict=True))
    ]
    return Candidates(rows, gold)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("reference", TEXTS)
def test_chrf_equals_sacrebleu(text: str, reference: str) -> None:
    """The same number, also for empty texts, texts shorter than the longest order and repeated characters."""
    expected = sacrebleu.sentence_chrf(text, [reference], word_order=0).score

    assert sentence_chrf(char_ngrams(text), char_ngrams(reference)) == expected


def test_distinct_selects_the_first_of_equal_texts() -> None:
    """Each text once, in the original order."""
    assert distinct(candidates("b", "a", "b", "c", "a")) == [0, 1, 3]


def test_the_text_closest_to_any_gold_target_is_selected() -> None:
    """Of several references the nearest counts, by sacrebleu's score; the probability has no effect."""
    texts, gold = ("rain is expected", "sun all day long", "no snow"), ("it is hot", "sunny all day")
    scores = [sacrebleu.sentence_chrf(text, list(gold)).score for text in texts]

    assert scores.index(max(scores)) == 1
    assert closest_to_gold(candidates(*texts, logprobs=(-0.1, -9.0, -0.2), gold=gold)) == [1]


def test_without_gold_the_most_probable_is_selected() -> None:
    """An unlabeled input has no gold target."""
    assert closest_to_gold(candidates("a", "b", "c", logprobs=(-3.0, -1.0, -2.0))) == [1]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_mbr_selects_the_texts_most_similar_to_the_others(n: int) -> None:
    """In the ranking of a naive loop over sacrebleu's scores, copies counted one by one."""
    texts = ["rain today", "heavy rain today", "sun", "rain at noon", "sun", "light rain today"]
    utility = {
        i: mean(sacrebleu.sentence_chrf(text, [other]).score for j, other in enumerate(texts) if j != i)
        for i, text in enumerate(texts)
        if text not in texts[:i]
    }

    expected = sorted(sorted(utility, key=lambda place: -utility[place])[:n])
    assert mbr(candidates(*texts), n=n) == expected


def test_copies_count_in_mbr() -> None:
    """A text that was sampled often is similar to the others because it is among them."""
    assert mbr(candidates("rain today", "rain tonight", "sun", "sun", "sun")) == [2]
    assert mbr(candidates("rain today", "rain tonight", "sun")) != [2]


def test_probability_is_per_token() -> None:
    """A long text is not penalized for its length; an unknown probability ranks last."""
    rows = [
        PseudoTarget("a", "teacher", 0, 0, (5, 1), "short", -3.0),
        PseudoTarget("a", "teacher", 0, 1, (5, 6, 7, 1), "long", -4.0),
        PseudoTarget("a", "teacher", 0, 2, (5, 1), "unknown", UNKNOWN),
        PseudoTarget("a", "teacher", 0, 3, (5, 6, 7, 1), "long", -4.0),
    ]

    assert most_probable(Candidates(rows)) == [1]
    assert most_probable(Candidates(rows), n=2) == [0, 1]


def test_probability_must_be_known() -> None:
    """The message names the input, the number of texts and the selections that need no probability."""
    with pytest.raises(PoolError, match=r"input 'a'.*none of its 2 texts.*distinct, mbr or agreement"):
        most_probable(candidates("a", "b", logprobs=(UNKNOWN, UNKNOWN)))


def test_agreement_selects_what_was_sampled_most_often() -> None:
    """Of texts sampled equally often the more probable is selected; without probabilities the earlier."""
    logprobs = (-5.0, -4.0, -3.0, -5.0, -4.0, -1.0)

    assert agreement(candidates("a", "b", "c", "a", "b", "d", logprobs=logprobs)) == [1]
    assert agreement(candidates("a", "b", "c", "a", "b", "d", logprobs=logprobs), n=3) == [0, 1, 5]
    assert agreement(candidates("b", "a", "b", "a", logprobs=(UNKNOWN,) * 4)) == [0]
