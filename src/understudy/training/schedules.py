"""What changes while a training goes on: the target of TAID, the share of the student's texts.

Pure functions of where the training stands; what must survive a kill is kept in `TrainState.memory`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MOST = 1.0


@dataclass(frozen=True)
class TAIDSchedule:
    """A target that moves from the student's distribution (0) to the teacher's (1).

        tₙ₊₁ = min(1, max(line, tₙ + step · sigmoid(mₙ) · (1 - tₙ))),  mₙ = β mₙ₋₁ + (1 - β) (Jₙ₋₁ - Jₙ) / Jₙ₋₁

    where J is the loss and the line leads from `start` to 1 over the training.

    Source: Shing et al. 2025, section 3.2 (arXiv:2501.16937).
    """

    start: float
    step: float
    momentum: float

    def position(self, memory: Mapping[str, float], done: float) -> float:
        """T at this step; `done` is the share of training done."""
        return min(MOST, max(self.start + (MOST - self.start) * done, memory.get("taid_t", 0.0)))

    def after(self, memory: Mapping[str, float], t: float, loss: float) -> dict[str, float]:
        """What the next step must remember, after one at `t` whose mean loss was `loss`."""
        before = memory.get("taid_loss", loss)
        fall = (before - loss) / before if before else 0.0
        pace = self.momentum * memory.get("taid_pace", 0.0) + (1 - self.momentum) * fall
        return {"taid_t": t + self.step * (MOST - t) / (1 + math.exp(-pace)), "taid_pace": pace, "taid_loss": loss}


@dataclass(frozen=True)
class StudentShare:
    """How many of an epoch's lessons teach the student's own texts, where that changes.

    growing: 1 - base^(-t), t the share of training done at the epoch's start (Lin et al. 2020, section 3.2).
    adaptive: raised by `amount` whenever dev got worse (Ko et al. 2024, section 3.2, there by the loss on dev).
    """

    kind: Literal["growing", "adaptive"]
    amount: float
    """The base, or the raise."""

    def at(self, memory: Mapping[str, float], done: float) -> float:
        """The share in an epoch that starts at `done`."""
        return 1 - self.amount**-done if self.kind == "growing" else memory.get("student_share", 0.0)

    def after(self, memory: Mapping[str, float], *, worse: bool) -> dict[str, float]:
        """What must be remembered after a look at dev."""
        if self.kind == "growing" or not worse:
            return {}
        return {"student_share": min(MOST, memory.get("student_share", 0.0) + self.amount)}
