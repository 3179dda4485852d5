"""Calibration: from the probability per token of a text to the probability that it is at least as good as another's.

What counts as good is decided by the caller: an event is true or false for each text. The curve of deferral is in
`deferral`.
Axes: N texts.
Source: Platt 1999; Guo et al. 2017, sections 2 to 4 (arXiv:1706.04599).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray

CLOSEST = 1e-6
"""Confidences are kept this far from 0 and 1, whose logits are infinite."""
LARGEST_LOGIT = 30.0
"""A calibrated probability stays below 1, so that a threshold of 1 is above all."""
MIN_SLOPE = 0.01
"""Of the fitted line, the inverse of the highest temperature: a higher confidence never has a lower probability."""
BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """From a confidence to a calibrated probability: sigmoid(logit(confidence) / temperature + offset)."""

    temperature: float
    offset: float

    def probability(self, confidence: float) -> float:
        """The probability that a text of this confidence is at least as good as the teacher's.

        Args:
            confidence: probability per token, from 0 to 1.

        Returns:
            More than 0 and less than 1, and higher for a higher confidence.
        """
        inside = min(max(confidence, CLOSEST), 1 - CLOSEST)
        value = math.log(inside / (1 - inside)) / self.temperature + self.offset
        return 1 / (1 + math.exp(-min(max(value, -LARGEST_LOGIT), LARGEST_LOGIT)))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Texts of similar probability: a point of a reliability diagram."""

    probability: float
    """Mean of the predicted probabilities."""
    share: float
    """Share of the texts for which the event is true."""
    count: int


def fit_calibration(confidences: Sequence[float], events: Sequence[bool]) -> Calibration:
    """The calibration of highest likelihood, with Platt's targets.

    A true event has the target (n₊ + 1) / (n₊ + 2), a false one 1 / (n₋ + 2), so that parameters stay finite where
    confidence separates the two, or only one of them occurs. A confidence that does not tell them apart gets the
    highest temperature, 100: every probability is then close to the share of true events.

    Args:
        confidences: probability per token of each text.
        events: whether each text was at least as good as the teacher's.

    Raises:
        EvaluationError: if there are no texts.
    """
    if not confidences:
        raise EvaluationError("a calibration needs texts with their confidence, got none; give at least one")
    x_N = torch.tensor(confidences, dtype=torch.float64).clamp(CLOSEST, 1 - CLOSEST).logit()
    true = sum(events)
    high, low = (true + 1) / (true + 2), 1 / (len(events) - true + 2)
    targets_N = torch.tensor([high if event else low for event in events], dtype=torch.float64)
    slope, offset = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    _maximise_likelihood(x_N, targets_N, slope, offset, free=(slope, offset))
    if slope < MIN_SLOPE:  # the likelihood is concave, so its constrained maximum is on the bound
        slope.fill_(MIN_SLOPE)
        _maximise_likelihood(x_N, targets_N, slope, offset, free=(offset,))
    return Calibration(1 / float(slope), float(offset))


def _maximise_likelihood(
    x_N: torch.Tensor,
    targets_N: torch.Tensor,
    slope: torch.Tensor,
    offset: torch.Tensor,
    *,
    free: tuple[torch.Tensor, ...],
) -> None:
    """Changes the free parameters in place."""
    optimizer = torch.optim.LBFGS(
        [one.requires_grad_() for one in free],
        max_iter=200,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        optimizer.zero_grad()
        nats = F.binary_cross_entropy_with_logits(slope * x_N + offset, targets_N)
        nats.backward()  # type: ignore[no-untyped-call]
        return nats.item()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    for one in free:
        one.requires_grad_(False)


def reliability(probabilities: Sequence[float], events: Sequence[bool], *, bins: int = BINS) -> list[ReliabilityBin]:
    """The points of a reliability diagram, lowest probability first.

    Bins have equal counts (or differ by one): probabilities of one system are close to each other, and bins of equal
    width would leave most of them empty.
    """
    order_N = np.argsort(probabilities, kind="stable")
    p_N, events_N = np.asarray(probabilities, float)[order_N], np.asarray(events, float)[order_N]
    chunks = np.array_split(np.arange(len(p_N)), min(bins, len(p_N)))
    return [ReliabilityBin(float(p_N[own].mean()), float(events_N[own].mean()), len(own)) for own in chunks]


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The expected calibration error: Σ count / N · |probability - share|, from 0 to 1."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.probability - one.share) for one in bins) / total


def ranking(confidences: Sequence[float], events: Sequence[bool]) -> float | None:
    """Probability that a text with a true event has a higher confidence than one with a false event (the AUROC).

    0.5 is that of a random order; equal confidences count half. None where only one kind occurs.
    """
    values_N, events_N = np.asarray(confidences, float), np.asarray(events, bool)
    true_N, false_N = values_N[events_N], np.sort(values_N[~events_N])
    if not len(true_N) or not len(false_N):
        return None
    below_N: FloatArray = np.searchsorted(false_N, true_N, "left") + np.searchsorted(false_N, true_N, "right")
    return float(below_N.mean() / (2 * len(false_N)))
