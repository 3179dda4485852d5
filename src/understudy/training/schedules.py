"""Schedules: the interpolation of TAID, the share of student samples.

Pure functions of the progress of training and of `TrainState.schedule_state`, which checkpoints save.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TAIDSchedule:
    """Interpolation t of the TAID target between the student's distribution (0) and the teacher's (1).

        tₙ₊₁ = min(1, max(line, tₙ + step · sigmoid(mₙ) · (1 - tₙ))),  mₙ = β mₙ₋₁ + (1 - β) (Jₙ₋₁ - Jₙ) / Jₙ₋₁

    where J is the loss and the line rises from `start` to 1 over the training.

    Source: Shing et al. 2025, section 3.2 (arXiv:2501.16937).
    """

    start: float
    step: float
    momentum: float

    def interpolation(self, state: Mapping[str, float], progress: float) -> float:
        """The t of a step at which `progress` of the training, 0..1, is done."""
        return min(1.0, max(self.start + (1.0 - self.start) * progress, state.get("taid_t", 0.0)))

    def update(self, state: Mapping[str, float], t: float, loss: float) -> dict[str, float]:
        """The schedule state after a step at `t` whose mean loss was `loss`."""
        previous = state.get("taid_loss", loss)
        decrease = (previous - loss) / previous if previous else 0.0
        momentum = self.momentum * state.get("taid_momentum", 0.0) + (1 - self.momentum) * decrease
        taid_t = t + self.step * (1.0 - t) / (1 + math.exp(-momentum))
        return {"taid_t": taid_t, "taid_momentum": momentum, "taid_loss": loss}


@dataclass(frozen=True)
class StudentShare:
    """The share of an epoch's items that are student samples, where it changes during training.

    growing: 1 - base^(-t), t the share of training done at the epoch's start (Lin et al. 2020, section 3.2).
    adaptive: raised by `amount` whenever the dev score got worse (Ko et al. 2024, section 3.2, with the dev loss).
    """

    kind: Literal["growing", "adaptive"]
    amount: float
    """The base (growing) or the raise (adaptive)."""

    def share(self, state: Mapping[str, float], progress: float) -> float:
        """The share in an epoch at whose start `progress` of the training, 0..1, is done."""
        return 1 - self.amount**-progress if self.kind == "growing" else state.get("student_share", 0.0)

    def update(self, state: Mapping[str, float], *, worse: bool) -> dict[str, float]:
        """The change of the schedule state after an evaluation on dev."""
        if self.kind == "growing" or not worse:
            return {}
        return {"student_share": min(1.0, state.get("student_share", 0.0) + self.amount)}
