"""Drift: whether recent requests, and the student's confidence in them, are still distributed as on dev.

The distance of two samples is that of Kolmogorov and Smirnov, from 0 to 1; for a quantity that is 0 or 1, such as
whether a request is deferred, it is the difference of the shares.
"""

import logging
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from understudy.serving.deployment import Answering
from understudy.serving.metrics import ServerMetrics

_Value = TypeVar("_Value")
DRIFT_LOG = logging.getLogger("understudy.drift")
DEV_TEXTS = 1000
"""Texts of dev that are compared with; more would say little more."""
WINDOW, EVERY = 500, 50
"""The latest values that are compared, and the number of new ones after which they are."""
FEWEST_VALUES = 100
KS_BY_CHANCE = 1.95
"""Two samples of n and m values of one distribution differ by more than this · √((n + m) / (n·m)) once in 1,000."""
CALM_SHARE = 0.5
"""An alarm ends when the distance is below this share of the one at which it began."""

CONFIDENCE, TEXT_TOKENS, BYTE_TOKENS, DEFERRED = "confidence", "text_tokens", "byte_tokens", "deferred"
QUANTITIES = {
    CONFIDENCE: "probability per token of a text",
    TEXT_TOKENS: "tokens of a text",
    BYTE_TOKENS: "share of a source's tokens that are unknown or parts of a character",
    DEFERRED: "share of requests that are deferred",
}


def ks_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of the two samples' cumulative distributions: max over v of |F(v) − G(v)|."""
    first, second = sorted(one), sorted(other)
    return max(
        abs(bisect_right(first, value) / len(first) - bisect_right(second, value) / len(second))
        for value in {*first, *second}
    )


@dataclass(frozen=True)
class DevTexts:
    """What the student generated for dev, as its run recorded it; a field that is empty is not known."""

    sources: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()


@dataclass
class _Window:
    """The latest values of one quantity."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    new: int = 0
    alarmed: bool = False


class Drift:
    """Compares the latest values of each quantity with those on dev; logs when a distance passes the limit."""

    def __init__(self, dev: Mapping[str, Sequence[float]], limit: float, metrics: ServerMetrics) -> None:
        """Made by each worker process for the requests that it answers.

        Args:
            dev: quantity -> its values; quantities without values are not watched.
            limit: the distance above which there is an alarm.
            metrics: get the distances and the alarms.
        """
        self._dev = {name: values for name, values in dev.items() if values}
        self._limit = limit
        self._metrics = metrics
        self._windows = {name: _Window() for name in self._dev}

    def observe(self, name: str, value: float) -> None:
        """Adds a value of a request."""
        window = self._windows.get(name)
        if window is None:
            return
        window.values.append(value)
        window.new += 1
        if window.new >= EVERY and len(window.values) >= FEWEST_VALUES:
            window.new = 0
            self._compare(name, window)

    def _compare(self, name: str, window: _Window) -> None:
        dev, recent = self._dev[name], window.values
        distance = ks_distance(recent, dev)
        by_chance = KS_BY_CHANCE * math.sqrt((len(recent) + len(dev)) / (len(recent) * len(dev)))
        what = (
            f"drift of {name} ({QUANTITIES[name]}): the distance of the last {len(recent)} values from dev is "
            f"{distance:.2f}, the limit {self._limit:g}; their mean is {fmean(recent):.4g}, on dev {fmean(dev):.4g}"
        )
        if not window.alarmed and distance > max(self._limit, by_chance):
            window.alarmed = True
            DRIFT_LOG.warning("WARNING: %s. Compare recent requests with the task's, and distil again with them", what)
        elif window.alarmed and distance < CALM_SHARE * self._limit:
            window.alarmed = False
            DRIFT_LOG.info("no more %s", what)
        self._metrics.drift.labels(name).set(distance)
        self._metrics.drift_alarm.labels(name).set(window.alarmed)


def dev_values(dev: DevTexts, answering: Answering, defers: Callable[[float], bool] | None) -> dict[str, list[float]]:
    """The values of each quantity on dev.

    Args:
        dev: what the run recorded.
        answering: the student, whose tokens are counted.
        defers: whether a text of some confidence is deferred; None: none is.
    """
    confidences = _spread(dev.confidences)
    return {
        CONFIDENCE: confidences,
        TEXT_TOKENS: list(map(float, _spread(dev.tokens))),
        BYTE_TOKENS: [answering.byte_share(row) for row in answering.encode(_spread(dev.sources))],
        DEFERRED: [float(defers(confidence)) for confidence in confidences] if defers else [],
    }


def _spread(values: Sequence[_Value]) -> list[_Value]:
    """At most `DEV_TEXTS` of the values, evenly spread over their order, which may mean something."""
    return list(values[:: max(1, math.ceil(len(values) / DEV_TEXTS))])
