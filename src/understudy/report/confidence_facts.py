"""The facts in `report.json` on the student's confidence, and on a system that defers to the teacher.

The student answers where the calibrated probability of its text is at least the threshold, the teacher elsewhere.
`evaluation/calibration.py` and `evaluation/deferral.py` have the formulas.
"""

from typing import NotRequired, TypedDict


class ReliabilityFacts(TypedDict):
    """Texts of similar probability."""

    probability: float
    """Mean of the predicted probabilities."""
    share: float
    """Share of the texts that score at least as well as the teacher's."""
    count: int


class DeferralFacts(TypedDict):
    """The system with one threshold, on one split."""

    threshold: float
    deferred: float
    """Share of the requests, from 0 to 1."""
    score: float
    """In the metric's unit, with its 95 % interval."""
    low: float
    high: float
    quality: float
    """As a share of the teacher's score; the inverse where lower scores are better."""
    random: float
    """The score of a system that defers as many requests at random."""
    gain: float
    """The paired difference to `random` with its 95 % interval; positive is better."""
    gain_low: float
    gain_high: float
    cost: NotRequired[float]
    """Of 1,000 requests, all of which the student answers first; only where both prices are known."""


class ConfidenceFacts(TypedDict):
    """How well the student knows which of its texts are as good as the teacher's."""

    system: str
    metric: str
    """The primary metric, or the first of the task that scores texts."""
    label: str
    higher_is_better: bool
    signature: str
    temperature: float
    """probability = sigmoid(logit(confidence) / temperature + offset), fitted on dev."""
    offset: float
    not_worse: float
    """Share of the student's test texts that score at least as well as the teacher's on their example alone."""
    ranking: float | None
    """Probability that such a text has a higher confidence than another (AUROC), on test; None if all are of one
    kind."""
    error_before: float
    """Expected calibration error of the confidence on test, from 0 to 1."""
    error_after: float
    """The same of the calibrated probability."""
    reliability_before: list[ReliabilityFacts]
    reliability: list[ReliabilityFacts]
    """Ten bins of equal counts, on test, lowest probability first."""
    dev: list[DeferralFacts]
    """21 points, nothing deferred first. Thresholds are chosen here."""
    test: list[DeferralFacts]
    """The same thresholds."""
    notes: list[str]
    """Limitations, each a sentence."""
