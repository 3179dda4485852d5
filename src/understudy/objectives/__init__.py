"""By which measure a student is taught. Tensor functions only; sums in nats over target positions."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from understudy.objectives.divergences import (
    argmax_cross_entropy,
    cross_entropy,
    forward_kl,
    jsd,
    reverse_kl,
    skew_kl,
    skew_reverse_kl,
    taid,
    tvd,
)

__all__ = ["OBJECTIVES", "Objective"]


@dataclass(frozen=True)
class Objective:
    """A function of the student's logits and of what they are compared with."""

    function: Callable[..., Tensor]
    """(student_logits_NV, what it needs, *, its settings) -> scalar sum in nats."""
    needs: Literal["labels", "teacher_best", "teacher_logits"]
    """Token ids of the target, the teacher's most probable ones, or its distributions."""
    moves: bool = False
    """Whether its target moves: the loop tells it `t`."""


OBJECTIVES = MappingProxyType(
    {
        "cross_entropy": Objective(cross_entropy, needs="labels"),
        "forward_kl": Objective(forward_kl, needs="teacher_logits"),
        "reverse_kl": Objective(reverse_kl, needs="teacher_logits"),
        "jsd": Objective(jsd, needs="teacher_logits"),
        "tvd": Objective(tvd, needs="teacher_logits"),
        "skew_kl": Objective(skew_kl, needs="teacher_logits"),
        "skew_reverse_kl": Objective(skew_reverse_kl, needs="teacher_logits"),
        "argmax_cross_entropy": Objective(argmax_cross_entropy, needs="teacher_best"),
        "taid": Objective(taid, needs="teacher_logits", moves=True),
    }
)
