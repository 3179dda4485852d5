"""By which measure a student is taught. Tensor functions only; sums in nats over target positions."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from understudy.objectives.divergences import cross_entropy, forward_kl

__all__ = ["OBJECTIVES", "Objective", "cross_entropy", "forward_kl"]


@dataclass(frozen=True)
class Objective:
    """A function of the student's logits and of what they are compared with."""

    function: Callable[..., Tensor]
    """(student_logits_NV, labels_N or teacher_logits_NV, *, its settings) -> scalar sum in nats."""
    needs: Literal["labels", "teacher_logits"]


OBJECTIVES = MappingProxyType(
    {
        "cross_entropy": Objective(cross_entropy, needs="labels"),
        "forward_kl": Objective(forward_kl, needs="teacher_logits"),
    }
)
