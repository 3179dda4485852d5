"""The kinds of numbers in settings: strict, and bounded.

Strict: true, "3" and 3.0 are no whole numbers. Bounded: a value beyond the bound is a slip of the keyboard, and would
end hours later, out of memory or never; each kind has the largest value that any use is known for, with a margin.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, Strict, StrictBool


def between(low: float, high: float, what: str) -> AfterValidator:
    """Refuses numbers outside of a range; `what` says what the setting counts."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be {low:,} to {high:,}, as {what}; got {value:,}")
        return value

    return AfterValidator(check)


def above_zero(high: float, what: str) -> AfterValidator:
    """Refuses numbers that are not positive, or over a bound; `what` says what the setting is."""

    def check(value: float) -> float:
        if not 0 < value <= high:
            raise ValueError(f"must be greater than 0 and at most {high:,}, as {what}; got {value:,}")
        return value

    return AfterValidator(check)


Switch = Annotated[StrictBool | None, AfterValidator(lambda on: on or None)]
"""On, or left out: what is off is in no cache key."""
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
Rounds = Annotated[Whole, between(1, 10_000, "each repeats work on all data")]
"""Epochs, rounds, generations, repeats."""
Resamples = Annotated[Whole, between(20, 100_000, "more resamples change no shown digit of an interval")]
TextsPerInput = Annotated[Whole, between(1, 10_000, "each is a text generated or kept for one input")]
"""Samples, beams, groups, selected texts."""
TokenCount = Annotated[Whole, between(1, 10_000_000, "a number of tokens")]
"""Lengths, batches, vocabularies."""
Inputs = Annotated[Whole, between(1, 1_000_000_000, "a number of inputs")]
Dimension = Annotated[Whole, between(1, 1_000_000, "a size of a network")]
"""Widths, heads, layers."""
CountFromZero = Annotated[Whole, between(0, 1_000_000_000, "a number from zero")]
"""Warm-up steps, seeds of rows, ages, tokens of top-k."""
Positive = Annotated[Real, above_zero(1_000_000_000_000.0, "a factor")]
"""Rates, temperatures, weights that must not be zero."""
LearningRate = Annotated[Real, above_zero(10.0, "a learning rate")]
Weight = Annotated[Real, between(0.0, 1_000_000.0, "a weight")]
Share = Annotated[Real, Field(ge=0, le=1)]
ShareAboveZero = Annotated[Real, Field(gt=0, le=1)]
ShareBelowOne = Annotated[Real, Field(ge=0, lt=1)]
