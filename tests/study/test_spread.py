import numpy as np
import pytest

from understudy.study.spread import SEED, Spread, interval_of, mean, mean_over_seeds, share

RESAMPLES = 200


def spread(value: float, seed: int) -> Spread:
    """A number with normal resamples."""
    drawn_R = np.random.default_rng(seed).normal(value, 1, RESAMPLES)
    return Spread(value, drawn_R, drawn_R)


def test_an_interval_holds_95_percent() -> None:
    """Its ends are resamples; the numbers 0 to 999 leave 24 out on each side."""
    numbers = np.arange(1000.0)

    assert Spread(500.0, numbers, numbers).interval() == {"value": 500.0, "low": 24.0, "high": 975.0}


def test_seeds_are_drawn_in_every_resample() -> None:
    """A naive loop over resamples and drawn seeds gives the same interval."""
    seeds = [spread(value, seed) for seed, value in enumerate((1.0, 2.0, 4.0))]
    rng = np.random.default_rng([SEED, 5])
    naive = [np.mean([seeds[s].low_R[r] for s in rng.integers(3, size=3)]) for r in range(RESAMPLES)]
    found = mean_over_seeds(seeds, stream=5)

    assert found is not None
    assert found.value == pytest.approx(7 / 3)
    np.testing.assert_allclose(found.low_R, naive)
    np.testing.assert_allclose(found.high_R, naive)


def test_seeds_that_disagree_widen_the_interval() -> None:
    """The spread over seeds is in the interval, not only that over examples."""
    alike = mean_over_seeds([spread(3.0, 0), spread(3.0, 0)], stream=0)
    apart = mean_over_seeds([spread(0.0, 0), spread(6.0, 0)], stream=0)

    assert alike is not None
    assert apart is not None
    assert np.std(apart.low_R) > 1.5 * np.std(alike.low_R)


def test_one_seed_is_itself() -> None:
    """There is nothing to draw."""
    one = spread(2.0, 1)
    found = mean_over_seeds([one], stream=3)

    assert found is not None
    np.testing.assert_array_equal(found.low_R, one.low_R)


def test_a_resample_that_turns_the_gap_around_counts_against_both_ends() -> None:
    """Its share is unknown: with too many of them the interval has no end."""
    gap_R = np.ones(RESAMPLES)
    gap_R[: RESAMPLES // 10] = -1.0
    found = share(0.5, np.full(RESAMPLES, 0.5), gap_R)

    assert found.interval() == {"value": 0.5, "low": None, "high": None}
    assert share(0.5, np.full(RESAMPLES, 0.5), np.ones(RESAMPLES)).interval() == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_means_of_nothing_are_nothing() -> None:
    """No metric, no seed, no task: no number."""
    assert mean([]) is None
    assert mean_over_seeds([], stream=0) is None
    assert interval_of(None) == {"value": None, "low": None, "high": None}


def test_a_difference_is_paired() -> None:
    """A difference that is equal in every resample has an interval of width zero."""
    one, shift = spread(3.0, 0), 0.25
    other = Spread(one.value - shift, one.low_R - shift, one.high_R - shift)
    lead = one.minus(other).interval()

    assert (lead["value"], lead["low"], lead["high"]) == pytest.approx((shift, shift, shift))


def test_the_fewest_resamples_of_all_are_used() -> None:
    """Two tasks may ask for different numbers of them."""
    short = Spread(1.0, np.ones(10), np.ones(10))
    both = mean([short, spread(2.0, 0)])

    assert both is not None
    assert both.low_R.shape == (10,)
