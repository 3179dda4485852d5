"""Slot error rate: facts of the source that a text states wrongly, omits or invents. It needs no references.

What a fact is and how it is found in a text depends on the task and comes as a function, the checker.
Axes: N examples.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from understudy.custom_code import load_object, reporting
from understudy.errors import ConfigError, EvaluationError
from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction


@runtime_checkable
class SlotCheck(Protocol):
    """How one text renders the facts of its source, as counts."""

    @property
    def facts(self) -> int:
        """Facts that the source states."""

    @property
    def wrong(self) -> int:
        """Facts that the text states with another value."""

    @property
    def missing(self) -> int:
        """Facts that the text does not state."""

    @property
    def invented(self) -> int:
        """Facts that the text states and the source does not."""


@runtime_checkable
class Checker(Protocol):
    """Compares a text with its source."""

    def __call__(self, source: str, text: str, /) -> SlotCheck:
        """The counts for one source and one text."""


def checker_named(spec: str, *, allow_code: bool) -> Checker:
    """The checker that `task.checker` names.

    Args:
        spec: 'package.module:function' or 'path/to/file.py:function'.
        allow_code: whether the user has allowed custom code.

    Raises:
        ConfigError: as `load_object`, or if the object cannot be called.
    """
    found = load_object(spec, allowed=allow_code)
    if not isinstance(found, Checker):
        raise ConfigError(
            f"task.checker {spec!r} is of type {type(found).__name__}, not a function; write a function from source "
            "and text to counts of facts"
        )
    return reporting(spec, found)


def slot_statistics(predictions: Sequence[Prediction], *, checker: Checker) -> FloatArray:
    """Wrong, missing and invented facts, times 100, and the facts of the source, (N, 2).

    Source: Wen et al. 2015, §5.1 (arXiv:1508.01745), with values checked too.

    Raises:
        EvaluationError: if no source states a fact, or the checker returns something other than counts.
    """
    checks = [checker(prediction.source, prediction.text) for prediction in predictions]
    for check in checks:
        if not isinstance(check, SlotCheck):
            raise EvaluationError(
                f"slot_error_rate needs counts from the checker, which returned {check!r}; return an object with the "
                "fields facts, wrong, missing and invented"
            )
    if not any(check.facts for check in checks):
        raise EvaluationError(
            f"slot_error_rate counts errors per fact, and the checker found no fact in {len(checks)} sources; "
            "give it the sources without the prompt, or remove slot_error_rate from task.metrics"
        )
    return np.array(
        [(100 * (check.wrong + check.missing + check.invented), check.facts) for check in checks],
        dtype=np.float64,
    )
