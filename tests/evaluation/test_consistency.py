"""What outputs omit of their sources and state without them."""

import numpy as np
import pytest
from tests.evaluation.tallied import tallied

from understudy.evaluation.bootstrap import advantage, resample_weights
from understudy.evaluation.consistency import ItemErrors, item_errors
from understudy.evaluation.metrics import METRICS, MetricContext
from understudy.records import Prediction


def outputs(*pairs: tuple[str, str]) -> list[Prediction]:
    """Predictions without references, from sources and texts."""
    return [Prediction(str(at), source, (), text) for at, (source, text) in enumerate(pairs)]


SHOP = outputs(
    ("lamp, price 45, from Oslo", "the lamp from Oslo costs 45"),
    ("cup, price 12, from Bergen", "the cup from Oslo costs 12"),
    ("pen, price 3, from Rome", ""),
    ("a pen", "just a pen"),
)


def test_a_wrong_value_is_missing_and_invented() -> None:
    """As each text writes it."""
    assert item_errors(SHOP[1]) == ItemErrors(("Bergen",), ("Oslo",))
    assert item_errors(SHOP[2]) == ItemErrors(("3", "Rome"), ())


def test_rates_are_of_all_items() -> None:
    """Three of six items of the sources are missing, one of four of the outputs is invented; no reference is needed."""
    missing, invented = (tallied(name, SHOP) for name in ("source_missing", "source_invented"))

    assert missing.value() == pytest.approx(100 * 3 / 6)
    assert invented.value() == pytest.approx(100 * 1 / 4)
    assert "|items:numbers,dates,codes,names|" in missing.signature
    assert not missing.higher_is_better
    assert not invented.higher_is_better


def test_what_the_prompt_states_is_not_invented() -> None:
    """It is no item of the source either."""
    metric = METRICS["source_invented"]
    prompt = metric.prepare(MetricContext(prompt="Write for Contoso in 20 words:"))
    own = outputs(("a lamp", "the Contoso lamp"))

    assert tallied("source_invented", own).value() == 100
    assert tallied("source_invented", own, prompt).value() == 0
    assert tallied("source_missing", own).value() == 0


def test_systems_are_compared_in_pairs() -> None:
    """A student that invents prices is clearly worse than its teacher, as a loop over resamples finds too."""
    sources = [f"price {at}" for at in range(10, 50)]
    good = outputs(*((source, source) for source in sources))
    bad = outputs(*((source, f"price {7 * at % 90 + 100}" if at % 2 else source) for at, source in enumerate(sources)))
    student, teacher = tallied("source_invented", bad), tallied("source_invented", good)
    weights_RN = resample_weights(40, resamples=200, seed=1)
    lead = advantage(student, teacher, weights_RN)
    wrong_N = np.arange(40) % 2
    naive = sorted(-100 * (row_N * wrong_N).sum() / 40 for row_N in weights_RN)

    assert lead.value == -50
    assert naive[0] <= lead.low <= lead.high <= naive[-1]
    assert lead.high < 0
