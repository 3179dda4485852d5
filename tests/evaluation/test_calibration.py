import math
import random

import pytest

from understudy.errors import EvaluationError
from understudy.evaluation.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    ranking,
    reliability,
)


def drawn(count: int, calibration: Calibration, *, seed: int) -> tuple[list[float], list[bool]]:
    """Confidences, and events that are true with the probability that a calibration gives them."""
    rng = random.Random(seed)
    confidences = [rng.betavariate(8, 2) for _ in range(count)]
    return confidences, [rng.random() < calibration.probability(one) for one in confidences]


def newton(confidences: list[float], events: list[bool]) -> tuple[float, float]:
    """Slope and offset of highest likelihood by Newton's method in plain Python, with Platt's targets."""
    true, false = sum(events), len(events) - sum(events)
    targets = [(true + 1) / (true + 2) if event else 1 / (false + 2) for event in events]
    slope, offset = 0.0, 0.0
    for _ in range(50):
        g0 = g1 = h00 = h01 = h11 = 0.0
        for confidence, target in zip(confidences, targets, strict=True):
            x = math.log(confidence / (1 - confidence))
            p = 1 / (1 + math.exp(-(slope * x + offset)))
            g0, g1 = g0 + (target - p) * x, g1 + target - p
            h00, h01, h11 = h00 + p * (1 - p) * x * x, h01 + p * (1 - p) * x, h11 + p * (1 - p)
        determinant = h00 * h11 - h01 * h01
        slope += (h11 * g0 - h01 * g1) / determinant
        offset += (h00 * g1 - h01 * g0) / determinant
    return slope, offset


def test_the_fit_is_that_of_newtons_method() -> None:
    """Another optimiser of the same likelihood gives the same temperature and offset."""
    confidences, events = drawn(300, Calibration(2.0, -0.7), seed=0)

    found = fit_calibration(confidences, events)

    slope, offset = newton(confidences, events)
    assert (found.temperature, found.offset) == pytest.approx((1 / slope, offset), rel=1e-5)


def test_the_parameters_that_events_were_drawn_with_are_found() -> None:
    """20,000 texts give them within a few percent."""
    found = fit_calibration(*drawn(20_000, Calibration(1.5, -0.5), seed=1))

    assert found.temperature == pytest.approx(1.5, rel=0.06)
    assert found.offset == pytest.approx(-0.5, abs=0.08)


def test_a_probability_is_the_formula_of_its_parameters() -> None:
    """sigmoid(logit(0.8) / 2 + 0.1); temperature 1 and offset 0 change nothing."""
    assert Calibration(2.0, 0.1).probability(0.8) == pytest.approx(1 / (1 + math.exp(-(math.log(4) / 2 + 0.1))))
    assert Calibration(1.0, 0.0).probability(0.3) == pytest.approx(0.3)


@pytest.mark.parametrize("events", [[True] * 8, [False] * 8, [False] * 4 + [True] * 4, [True] * 4 + [False] * 4])
def test_every_calibration_is_finite_and_keeps_the_order_of_confidences(events: list[bool]) -> None:
    """Also where all events are equal, or confidence separates them, or the wrong way round."""
    found = fit_calibration([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], events)

    probabilities = [found.probability(one) for one in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert 0 < probabilities[0] < probabilities[1] < probabilities[2] < probabilities[3] < probabilities[4] < 1


def test_a_confidence_that_tells_nothing_gives_the_share_of_true_events() -> None:
    """The highest temperature is left, and the mean of the probabilities is that of Platt's targets."""
    found = fit_calibration([0.2, 0.4, 0.6, 0.8], [True, True, True, False])

    assert found.temperature == pytest.approx(100)
    mean = sum(found.probability(one) for one in (0.2, 0.4, 0.6, 0.8)) / 4
    assert mean == pytest.approx((3 * 4 / 5 + 1 / 3) / 4)


def test_no_texts_are_refused() -> None:
    """Nothing can be fitted."""
    with pytest.raises(EvaluationError, match="got none"):
        fit_calibration([], [])


def test_the_calibration_error_is_that_of_a_plain_loop() -> None:
    """Texts in the order of their probability, in ten groups."""
    probabilities, events = drawn(103, Calibration(0.5, 1.0), seed=2)
    pairs = sorted(zip(probabilities, events, strict=True), key=lambda pair: pair[0])
    total, start = 0.0, 0
    for number in range(10):
        own = pairs[start : start + (11 if number < 3 else 10)]
        start += len(own)
        mean, share = (sum(pair[axis] for pair in own) / len(own) for axis in (0, 1))
        total += len(own) / 103 * abs(mean - share)

    bins = reliability(probabilities, events)

    assert [one.count for one in bins] == [11] * 3 + [10] * 7
    assert calibration_error(bins) == pytest.approx(total)


def test_calibration_lowers_the_error_on_other_texts() -> None:
    """Of confidences that are far too high."""
    truth = Calibration(2.0, -2.0)
    found = fit_calibration(*drawn(2000, truth, seed=3))
    confidences, events = drawn(2000, truth, seed=4)

    before = calibration_error(reliability(confidences, events))
    after = calibration_error(reliability([found.probability(one) for one in confidences], events))

    assert before > 0.3
    assert after < 0.05


def test_few_texts_have_as_many_bins() -> None:
    """No bin is empty."""
    assert [one.count for one in reliability([0.9, 0.1, 0.5], [True, False, True])] == [1, 1, 1]


def test_the_ranking_is_the_share_of_pairs_in_the_right_order() -> None:
    """Counted pair by pair; equal confidences count half; events of one kind have no pairs."""
    confidences, events = [0.9, 0.5, 0.5, 0.2, 0.7], [True, True, False, False, False]
    pairs = [
        (one > other) + (one == other) / 2
        for one, true in zip(confidences, events, strict=True)
        for other, also in zip(confidences, events, strict=True)
        if true and not also
    ]

    assert ranking(confidences, events) == pytest.approx(sum(pairs) / len(pairs))
    assert ranking([0.1, 0.2], [True, True]) is None
