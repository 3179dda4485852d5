"""What is counted of a pair of tokenizers: texts that are cut, shares of positions."""

import pytest
from tests.training.test_other_tokenizer import TEXTS, Make, byte_level, byte_words, fallback, letters, reads, words

from understudy.pool.token_arrays import TokenArrays
from understudy.training.items import TrainItem, TrainItems
from understudy.training.other_tokenizer import OtherTokenizer


def test_texts_that_are_cut_are_counted() -> None:
    """Those whose own tokens, counted one text at a time, are more than the positions after a source of one token."""
    whole = OtherTokenizer(reads(letters()), reads(words()))
    rows = TokenArrays.of(whole.student.encode_targets(TEXTS))
    items = TrainItems.of([TrainItem(0, "student", (row,)) for row in (3, 0, 4, 2, 1)])
    sources = TokenArrays.of([[5]])
    lengths = [len(whole.teacher.encode_targets([text])[0]) for text in TEXTS]
    counts = {
        limit: OtherTokenizer(reads(letters(), positions=limit), whole.student).cut(items, rows, sources)
        for limit in (1, 18, 1000)
    }

    assert whole.cut(items, rows, sources) == 0
    assert counts == {limit: sum(length > limit for length in lengths) for limit in counts}
    assert 0 < counts[18] < len(TEXTS)


def test_the_shares_of_a_pair_add_up_to_one() -> None:
    """Nearly the same tokens are mostly exact; letters against words are not."""

    def shares(teacher: Make, student: Make) -> dict[str, float]:
        pair = OtherTokenizer(reads(teacher()), reads(student()))
        rows = TokenArrays.of(pair.student.encode_targets(TEXTS))
        items = TrainItems.of([TrainItem(0, "gold", (row,)) for row in range(len(TEXTS))])
        return pair.shares(items, rows, TokenArrays.of([[5]]))

    near, far = shares(byte_words, byte_level), shares(words, fallback)
    assert sum(near.values()) == pytest.approx(1) == sum(far.values())
    assert near["exact"] > far["exact"] > 0
    assert shares(words, words) == {"exact": 1.0, "merged": 0.0, "inside": 0.0, "text": 0.0}
