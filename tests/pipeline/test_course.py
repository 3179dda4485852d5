import pytest

from understudy.pipeline.course import still_improving


@pytest.mark.parametrize(
    ("scores", "higher_is_better", "expected"),
    [
        ((1.0, 3.0, 4.0), True, True),
        ((1.0, 4.0, 3.0), True, False),
        ((1.0, 4.0, 4.0), True, False),
        ((4.0, 3.0, 1.0), False, True),
        ((1.0, 3.0, 4.0), False, False),
        ((1.0,), True, False),
        ((), True, False),
    ],
)
def test_only_a_best_last_look_says_that_more_may_help(
    scores: tuple[float, ...], higher_is_better: bool, expected: bool
) -> None:
    """Whichever weights were kept; a level score is no improvement, and one look cannot tell."""
    assert still_improving(scores, higher_is_better=higher_is_better, averaged=False) is expected


def test_a_mean_of_weights_that_is_better_than_each_is_no_progress() -> None:
    """It was looked at once, at the end; what counts is how the weights themselves fared."""
    assert not still_improving([1.0, 4.0, 3.0, 5.0], higher_is_better=True, averaged=True)
    assert still_improving([1.0, 3.0, 4.0, 2.0], higher_is_better=True, averaged=True)
