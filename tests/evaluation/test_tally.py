import numpy as np
import pytest

from understudy.errors import EvaluationError
from understudy.evaluation.tally import Tally, ratio, require_pairs

STATISTICS_ND = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])


def a_tally(metric: str = "bleu", ids: tuple[str, ...] = ("a", "b", "c")) -> Tally:
    """Three examples with two statistics each."""
    return Tally(metric=metric, ids=ids, statistics_ND=STATISTICS_ND, formula=ratio, signature="")


def test_weights_of_one_give_the_value() -> None:
    """The score of the predictions as they are is the resample that draws each once."""
    assert a_tally().scores(np.array([[1, 1, 1], [2, 1, 0]])).tolist() == [4 / 6, 5 / 8]
    assert a_tally().value() == 4 / 6


def test_each_example_has_a_score_of_its_own() -> None:
    """A row by itself goes through the same formula; nothing over nothing is zero."""
    assert a_tally().per_example().tolist() == [0.5, 0.75, 0.0]


def test_different_metrics_are_no_pair() -> None:
    """The message names both."""
    with pytest.raises(EvaluationError, match="one metric, got 'bleu' and 'chrf'"):
        require_pairs(a_tally(), a_tally("chrf"))


def test_another_order_is_no_pair() -> None:
    """Rows are paired by position, so the examples must have the same order."""
    with pytest.raises(EvaluationError, match="got 3 and 3 examples of which 3 are shared"):
        require_pairs(a_tally(), a_tally(ids=("b", "a", "c")))
