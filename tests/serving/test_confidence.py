import pytest

from understudy.errors import ConfigError
from understudy.serving.confidence import Calibration, DeferralPoint, SystemConfidence


def point(deferred: float, quality: float) -> DeferralPoint:
    """A point whose threshold is its share."""
    return DeferralPoint(deferred, deferred, 50 * quality, 0, 100, quality, 50, 0, 0, 0)


CURVE = SystemConfidence(
    Calibration(1, 0), "bleu", (point(0, 0.9), point(0.2, 0.97), point(0.4, 0.96), point(0.6, 0.99), point(1, 1))
)


@pytest.mark.parametrize(("quality", "threshold"), [(0.8, 0), (0.95, 0.2), (0.97, 0.2), (0.98, 0.6), (1, 1)])
def test_the_threshold_is_that_of_the_smallest_share_that_reaches_a_quality(quality: float, threshold: float) -> None:
    """The curve need not rise everywhere."""
    assert CURVE.threshold(quality) == threshold


def test_a_quality_that_no_share_reaches_is_refused_with_the_best() -> None:
    """The message has both."""
    with pytest.raises(ConfigError, match=r"1\.1 .*bleu.*1\.0000 with 100%"):
        CURVE.threshold(1.1)
