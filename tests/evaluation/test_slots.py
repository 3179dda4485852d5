from dataclasses import dataclass

import pytest
from tests.evaluation.tallied import tallied

from understudy.errors import EvaluationError
from understudy.records import Prediction


@dataclass(frozen=True)
class Checked:
    """The counts of a checker."""

    facts: int
    wrong: int
    missing: int
    invented: int


def by_letters(source: str, text: str) -> Checked:
    """Each letter of the source is a fact; there is no way to be wrong about one."""
    return Checked(len(source), 0, len(set(source) - set(text)), len(set(text) - set(source)))


def test_errors_are_counted_per_fact_of_the_split() -> None:
    """The rate is all errors over all facts, not the mean of the examples' rates."""
    predictions = [Prediction("0", "abcd", (), "abc"), Prediction("1", "a", (), "xy")]

    result = tallied("slot_error_rate", predictions, by_letters)

    assert result.value() == pytest.approx(100 * (1 + 3) / 5)
    assert not result.higher_is_better


def test_wrong_facts_are_errors_too() -> None:
    """Wrong, missing and invented facts weigh the same."""
    result = tallied("slot_error_rate", [Prediction("0", "", (), "")], lambda source, text: Checked(10, 1, 2, 4))

    assert result.value() == 70


def test_sources_without_facts_are_refused() -> None:
    """A rate per fact needs a fact."""
    with pytest.raises(EvaluationError, match="no fact in 1 sources; give it the sources without the prompt"):
        tallied("slot_error_rate", [Prediction("0", "", (), "a")], by_letters)


def test_a_checker_without_counts_is_refused() -> None:
    """The message shows what was returned, and the fields it should have."""
    with pytest.raises(EvaluationError, match=r"returned 3; return an object with the fields facts, wrong, missing"):
        tallied("slot_error_rate", [Prediction("0", "", (), "a")], lambda source, text: 3)
