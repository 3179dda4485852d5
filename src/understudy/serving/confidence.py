"""How sure a system is: what a run recorded of its confidence, from which a threshold of deferral is chosen.

`evaluation/calibration.py` and `evaluation/deferral.py` compute it; `pipeline/inspect/deploy.py` reads it for a run.
"""

from dataclasses import dataclass

from understudy.errors import ConfigError
from understudy.evaluation.calibration import Calibration
from understudy.evaluation.deferral import DeferralPoint

__all__ = ["Calibration", "DeferralPoint", "SystemConfidence"]


@dataclass(frozen=True)
class SystemConfidence:
    """What a run recorded of a system's confidence."""

    calibration: Calibration
    metric: str
    """The metric in which scores are."""
    dev: tuple[DeferralPoint, ...]
    """The curve on dev, nothing deferred first. Thresholds are chosen here: on test they would be too optimistic."""

    def point(self, quality: float) -> DeferralPoint:
        """The point of dev with the smallest share deferred whose quality reaches a share of the teacher's.

        Raises:
            ConfigError: if none does.
        """
        reached = [point for point in self.dev if point.quality >= quality]
        if not reached:
            best = max(self.dev, key=lambda point: point.quality)
            raise ConfigError(
                f"a quality of {quality:g} of the teacher's {self.metric} was requested, and on dev the best is "
                f"{best.quality:.4f} with {best.deferred:.0%} deferred; request at most that"
            )
        return min(reached, key=lambda point: point.deferred)

    def threshold(self, quality: float) -> float:
        """The threshold of `point`: requests whose calibrated probability is below it are deferred.

        Raises:
            ConfigError: as `point`.
        """
        return self.point(quality).threshold
