"""Slot errors: facts of the source that a text gets wrong, leaves out or makes up. Reads no references.

What a fact is and how it is found in a text is the task's knowledge and comes as a function.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction


class SlotCheck(Protocol):
    """How one text renders the facts of its source, as counts."""

    @property
    def facts(self) -> int:
        """Facts the source states."""

    @property
    def wrong(self) -> int:
        """Facts the text states with another value."""

    @property
    def missing(self) -> int:
        """Facts the text does not state."""

    @property
    def invented(self) -> int:
        """Facts the text states and the source does not."""


Checker = Callable[[str, str], SlotCheck]
"""Source and text to what is wrong with the text."""


def slot_rows(predictions: Sequence[Prediction], *, checker: Checker) -> FloatArray:
    """Wrong, missing and invented facts, times 100, and the facts of the source, (N, 2).

    Source: Wen et al. 2015, §5.1 (arXiv:1508.01745), with values checked too.

    Raises:
        EvaluationError: if no source states a fact.
    """
    checks = [checker(prediction.source, prediction.text) for prediction in predictions]
    if not any(check.facts for check in checks):
        raise EvaluationError(
            f"slot_error_rate counts errors per fact, and the checker found no fact in {len(checks)} sources; "
            "give it the sources without the prompt, or leave this metric out"
        )
    return np.array(
        [(100 * (check.wrong + check.missing + check.invented), check.facts) for check in checks],
        dtype=np.float64,
    )
