import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from understudy.errors import EvaluationError
from understudy.evaluation.bootstrap import advantage, gap_closed, resample_weights, score
from understudy.evaluation.metrics import METRICS, SystemOutputs, tally
from understudy.evaluation.tally import FloatArray, Tally, ratio
from understudy.records import Prediction


def mean_of(values: ArrayLike, *, metric: str = "rouge1", higher_is_better: bool = True) -> Tally:
    """A tally whose score is the mean of these values."""
    values = np.asarray(values, dtype=np.float64)
    statistics_ND = np.stack([values, np.ones(len(values))], axis=1)
    ids = tuple(map(str, range(len(values))))
    return Tally(metric, ids, statistics_ND, ratio, "rouge1|n", higher_is_better)


def noise(count: int, *, seed: int, mean: float = 0.0) -> FloatArray:
    """Values of examples that vary with a standard deviation of 1."""
    return np.random.default_rng(seed).normal(mean, 1.0, size=count)


def outer(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of 1000 resamples by sorting and counting."""
    ordered = sorted(values)
    return ordered[24], ordered[975]


def test_each_resample_draws_as_many_examples() -> None:
    """Rows add up to the number of examples; seeds decide, and only seeds."""
    weights_RN = resample_weights(7, resamples=50, seed=1)

    assert weights_RN.shape == (50, 7)
    assert (weights_RN.sum(axis=1) == 7).all()
    assert (weights_RN == resample_weights(7, resamples=50, seed=1)).all()
    assert (weights_RN != resample_weights(7, resamples=50, seed=2)).any()


def test_the_interval_is_that_of_a_plain_loop() -> None:
    """Repeating examples by their weights and averaging them gives the same percentiles."""
    values = noise(30, seed=0)
    weights_RN = resample_weights(30, seed=0)
    means = [float(np.repeat(values, weights_N).mean()) for weights_N in weights_RN]

    result = score(mean_of(values), weights_RN)

    assert result.value == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx(outer(means))
    assert result.signature == "rouge1|n"


def test_the_interval_covers_the_true_value_about_as_often_as_it_should() -> None:
    """Over 200 draws a 95 % interval misses in 5 %, give or take four standard errors."""
    weights_RN = resample_weights(100, seed=0)
    held = [
        result.low <= 0 <= result.high
        for result in (score(mean_of(noise(100, seed=w)), weights_RN) for w in range(200))
    ]

    assert np.mean(held) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 200))


def test_an_advantage_is_taken_over_the_same_examples() -> None:
    """Two systems that differ by a constant differ by it in every resample, however much examples vary."""
    values = 100 * noise(50, seed=3)
    result = advantage(mean_of(values + 1), mean_of(values), resample_weights(50, seed=0))

    assert (result.low, result.value, result.high) == pytest.approx((1, 1, 1))
    assert result.clear


def test_an_advantage_has_the_sign_of_the_better_system() -> None:
    """Where lower is better, the lower system leads."""
    low, high = (mean_of([level] * 5, higher_is_better=False) for level in (1.0, 3.0))
    weights_RN = resample_weights(5, seed=0)

    assert advantage(low, high, weights_RN).value == 2
    assert advantage(high, low, weights_RN).high == -2


def test_a_lead_by_chance_is_not_clear() -> None:
    """Two draws from one distribution have an interval around zero."""
    weights_RN = resample_weights(50, seed=0)

    assert not advantage(mean_of(noise(50, seed=1)), mean_of(noise(50, seed=2)), weights_RN).clear


@pytest.mark.parametrize("sign", [1, -1])
def test_the_share_of_the_gap_is_that_of_a_plain_loop(sign: int) -> None:
    """One set of examples per resample for all three systems, for metrics of either direction."""
    fine_tuned = noise(40, seed=1)
    distilled, teacher = fine_tuned + noise(40, seed=2, mean=2), fine_tuned + noise(40, seed=3, mean=3)
    weights_RN = resample_weights(40, seed=0)
    shares = []
    for weights_N in weights_RN:
        low, student, high = (np.repeat(v, weights_N).mean() for v in (fine_tuned, distilled, teacher))
        shares.append((student - low) / (high - low))

    teacher_tally, lower, student_tally = (
        mean_of(sign * values, higher_is_better=sign > 0) for values in (teacher, fine_tuned, distilled)
    )
    result = gap_closed(teacher_tally, fine_tuned=lower, distilled=student_tally, weights_RN=weights_RN)

    assert result.value == pytest.approx((distilled.mean() - fine_tuned.mean()) / (teacher.mean() - fine_tuned.mean()))
    assert (result.low, result.high) == pytest.approx(outer(shares))
    assert result.note == ""


@pytest.mark.parametrize("lead", [0.0, -3.0])
def test_a_teacher_that_does_not_lead_leaves_no_gap_to_close(lead: float) -> None:
    """No number, but the reason, with the gap that was found."""
    values = noise(40, seed=1)
    teacher = mean_of(noise(40, seed=2, mean=lead))
    result = gap_closed(
        teacher, fine_tuned=mean_of(values), distilled=mean_of(values + 1), weights_RN=resample_weights(40, seed=0)
    )

    assert (result.value, result.low, result.high) == (None, None, None)
    assert result.note.startswith("on rouge1 the teacher is not clearly better than the fine-tuned student")


def test_means_over_different_tokens_have_no_gap() -> None:
    """Equal nats over fewer tokens look like a worse likelihood, and are none."""
    predictions = [Prediction(str(number), "", ("gold",), "") for number in range(40)]
    nats = 20 + noise(40, seed=1)
    teacher, coarse, fine = (
        tally(METRICS["nll"], SystemOutputs(predictions, np.stack([nats + more, np.full(40, tokens)], axis=1)))
        for more, tokens in ((-4, 20.0), (0, 14.0), (0, 20.0))
    )
    weights_RN = resample_weights(40, seed=0)

    for fine_tuned, distilled in ((coarse, coarse), (fine, coarse)):
        result = gap_closed(teacher, fine_tuned=fine_tuned, distilled=distilled, weights_RN=weights_RN)
        assert result.value is None
        assert result.note.startswith(
            "nll is a mean over tokens, and the systems tokenize the same targets differently"
        )
    assert gap_closed(teacher, fine_tuned=fine, distilled=fine, weights_RN=weights_RN).value == 0


def test_a_resample_that_turns_the_gap_around_counts_against_both_ends() -> None:
    """Its share is unknown, so it may be the lowest as well as the highest; the ends stay finite."""
    rng = random.Random(0)
    found = 0
    for seed in range(60):
        weights_RN = resample_weights(12, seed=seed)
        votes = [[float(rng.random() < level) for _ in range(12)] for level in (0.8, 0.4, 0.6)]
        teacher, fine_tuned, distilled = map(mean_of, votes)
        result = gap_closed(teacher, fine_tuned=fine_tuned, distilled=distilled, weights_RN=weights_RN)
        gaps = teacher.scores(weights_RN) - fine_tuned.scores(weights_RN)
        gains = distilled.scores(weights_RN) - fine_tuned.scores(weights_RN)
        if result.value is not None and (gaps <= 0).any():
            found += 1
            pairs = list(zip(gains, gaps, strict=True))
            low, _ = outer([gain / gap if gap > 0 else -np.inf for gain, gap in pairs])
            _, high = outer([gain / gap if gap > 0 else np.inf for gain, gap in pairs])
            assert (result.low, result.high) == pytest.approx((low, high))
            assert np.isfinite([low, high]).all()
    assert found > 0, "no case with a resample that turns the gap around: the test would show nothing"


def test_weights_of_another_split_are_refused() -> None:
    """The message gives the call that draws the right ones."""
    with pytest.raises(EvaluationError, match=r"4 examples, the tally of rouge1 has 5.*resample_weights\(5"):
        score(mean_of([1.0] * 5), resample_weights(4, seed=0))
