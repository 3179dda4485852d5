"""Training objectives: functions of logits, found by name or in the user's own code. Sums in nats over positions.

divergences  cross-entropy, KL, JSD, TVD, skew KL, TAID, and the table `OBJECTIVES`
sparse       the same on the teacher's top-k tokens and one bucket for the rest
relations    attention relations (MiniLMv2)
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import cast

from torch import Tensor

from understudy.config.objectives import TAID, AnyObjective, Custom
from understudy.custom_code import is_custom, load_object, reporting
from understudy.errors import ConfigError, unknown_name
from understudy.objectives.divergences import OBJECTIVES, Needs, Objective

__all__ = ["OBJECTIVES", "Objective", "objective_named", "objective_of"]

NEEDS: tuple[Needs, ...] = ("labels", "teacher_best", "teacher_logits")


def objective_named(name: str, *, allow_code: bool = False) -> Objective:
    """An objective of the table, or one of the user's own code.

    Args:
        name: a key of `OBJECTIVES`, or 'package.module:function' or 'path/to/file.py:function'. The attribute `needs`
            of such a function says what its second argument is: 'teacher_logits' (without the attribute), 'labels' or
            'teacher_best'.
        allow_code: whether the user has allowed custom code.

    Raises:
        ConfigError: if the objective is unknown, or custom code is not allowed, not found or not a function.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if not is_custom(name):
        raise unknown_name("objective", name, OBJECTIVES)
    function = load_object(name, allowed=allow_code)
    if not callable(function):
        raise ConfigError(
            f"objective {name!r} is of type {type(function).__name__}, not a function; write a function of logits, as "
            "docs/extending.md shows"
        )
    given = getattr(function, "needs", "teacher_logits")
    needs = next((each for each in NEEDS if each == given), None)
    if needs is None:
        raise ConfigError(f"objective {name!r} has the attribute needs = {given!r}; known: {', '.join(NEEDS)}")
    return Objective(_checked(name, reporting(name, cast("Callable[..., object]", function))), needs)


def _checked(name: str, function: Callable[..., object]) -> Callable[..., Tensor]:
    """The user's function, whose result must be a loss that depends on the student's logits."""

    @wraps(function)
    def checked(student_logits: Tensor, *args: Tensor, **settings: float) -> Tensor:
        loss = function(student_logits, *args, **settings)
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ConfigError(f"objective {name!r} returned {found}; return a scalar tensor, the sum over positions")
        if student_logits.requires_grad and not loss.requires_grad:
            raise ConfigError(
                f"objective {name!r} returned a loss without a gradient; compute it from the student's logits, without "
                "detaching them"
            )
        # Logits that are not finite are the sign of a diverged training, which the loop reports.
        if not math.isfinite(loss.item()) and bool(student_logits.isfinite().all()):
            raise ConfigError(
                f"objective {name!r} returned {loss.item()} for finite logits of the student; correct the function: a "
                "logarithm or a quotient of zero is the usual reason"
            )
        return loss

    return checked


def objective_of(section: AnyObjective, *, allow_code: bool = False) -> tuple[Objective, Mapping[str, float]]:
    """The objective of a config section, and its keyword arguments; TAID's are left to its schedule.

    Raises:
        ConfigError: as `objective_named`, or if a function of the user's does not take the given settings.
    """
    if isinstance(section, Custom):
        objective = objective_named(section.function, allow_code=allow_code)
        try:
            inspect.signature(objective.function).bind(None, None, **section.settings)
        except TypeError as error:
            raise ConfigError(
                f"objective {section.function!r} cannot be called with two tensors and the settings "
                f"{section.settings}: {error}; correct objective.settings or the function"
            ) from None
        return objective, section.settings
    settings = {} if isinstance(section, TAID) else section.model_dump(exclude={"kind"})
    return objective_named(section.kind), settings
