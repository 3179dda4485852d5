"""The facts of a comparison of systems: the schema of `comparison.json`. A missing number is None."""

from typing import TypedDict

from understudy.report.content_facts import Interval


class ComparedSystemFacts(TypedDict):
    """One system of a comparison."""

    origin: str
    """The folder of its run, or the file of its outputs."""
    decoding: str | None
    """How its texts were generated; None where only a file is known."""
    equal_texts: int
    """Outputs that are equal to the candidate's."""


class ComparisonRow(TypedDict):
    """One metric of all systems."""

    label: str
    higher_is_better: bool
    scores: dict[str, Interval]
    """System -> its score; systems that cannot be scored are left out."""
    advantages: dict[str, Interval]
    """Other system -> advantage of the candidate over it, in the metric's unit, paired. Positive is better, also for
    metrics where lower scores are better; None with a note where the scores cannot be compared."""
    signatures: dict[str, str]
    """System -> the signature of its score."""


class CostRow(TypedDict):
    """One measurement of all systems, without intervals."""

    label: str
    higher_is_better: bool
    values: dict[str, float | None]


class RequirementFacts(TypedDict):
    """A requirement on the candidate and whether it holds."""

    requirement: str
    metric: str
    value: float
    bound: float
    margin: Interval
    """How far the value is on the required side of the bound; the interval is paired, and missing for costs."""
    holds: bool
    """Whether the point estimate holds."""
    holds_confidently: bool | None
    """Whether the whole interval of the margin holds; None where there is no interval."""


class ComparisonFacts(TypedDict):
    """A candidate against other systems on one test set."""

    candidate: str
    primary_metric: str
    split: str
    examples: int
    digest: str
    """Of the inputs and references."""
    resamples: int
    seed: int
    systems: dict[str, ComparedSystemFacts]
    """The candidate first."""
    metrics: dict[str, ComparisonRow]
    """The primary metric first."""
    outputs: dict[str, ComparisonRow]
    """What outputs omit and invent, and the share of degenerate ones: of every task, in percent."""
    costs: dict[str, CostRow]
    """Size and speed where runs measured them, and the cost of requests where prices are known."""
    requirements: list[RequirementFacts]
    confident: bool
    """Whether requirements are judged by their intervals."""
    holds: bool | None
    """Whether all requirements hold; None without requirements."""
    notes: list[str]
    """Limitations of the comparison, each a sentence."""
