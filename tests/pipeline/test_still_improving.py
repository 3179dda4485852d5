import pytest

from understudy.pipeline.stages.training import still_improving


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
def test_training_still_improves_if_the_last_dev_score_is_the_best(
    scores: tuple[float, ...], higher_is_better: bool, expected: bool
) -> None:
    """An equal score is no improvement, and a single score has nothing to compare with."""
    assert still_improving(scores, higher_is_better=higher_is_better, averaged=False) is expected


def test_the_score_of_averaged_weights_is_left_out() -> None:
    """The mean is scored once, at the end; only the scores of the weights themselves show progress."""
    assert not still_improving([1.0, 4.0, 3.0, 5.0], higher_is_better=True, averaged=True)
    assert still_improving([1.0, 3.0, 4.0, 2.0], higher_is_better=True, averaged=True)
