"""Formats numbers and system names for the reports: few digits, a unit, and a dash for a missing value.

This module only formats. `verdict.py` and the table modules decide which numbers to show.
"""

import math

from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, TEACHER, Facts, ScoreFacts, higher_is_better, metric_label, scores_in

UNKNOWN = "–"

DISTILLED_LABEL = "Distilled student"
SYSTEM_LABELS = {TEACHER: "Teacher", FINE_TUNED: "Fine-tuned student"}

THIN = "\u202f"
SPACE = "\u00a0"
"""Spaces without a line break: between a number and its unit, and between the two ends of an interval."""


def system_label(name: str) -> str:
    """The system's name in text, tables and figures. The method is named once, at the top of a page."""
    return SYSTEM_LABELS.get(name, DISTILLED_LABEL)


LOWER_IS_BETTER = "\u2193"


def with_direction(label: str, *, higher_is_better: bool) -> str:
    """A metric's label, with an arrow where lower scores are better."""
    return label if higher_is_better else f"{label}{SPACE}{LOWER_IS_BETTER}"


def metric_heading(facts: Facts, metric: str) -> str:
    """The metric's label in heads of tables and on axes, with an arrow where lower scores are better."""
    return with_direction(metric_label(facts, metric), higher_is_better=higher_is_better(facts, metric))


SMALL_SCALE = 10
"""Below it, one decimal place would hide most differences."""


def decimal_places(facts: Facts, metric: str) -> int:
    """Decimal places of a metric's scores: 1 for scales up to 100, 2 for values below 10 such as nats, 3 up to 1."""
    largest = max((abs(score["value"]) for score in scores_in(facts, metric)), default=0)
    return 3 if largest <= 1 else 2 if largest < SMALL_SCALE else 1


def fixed(value: float | None, places: int) -> str:
    """A number with a fixed number of decimal places and a true minus sign, which zero does not have."""
    return UNKNOWN if value is None else f"{value:z.{places}f}".replace("-", "−")


def signed(value: float | None, places: int) -> str:
    """A difference, always with its sign."""
    return UNKNOWN if value is None else f"{value:+z.{places}f}".replace("-", "−")


def rounded(value: float | None, unit: str = "") -> str:
    """A measurement with about three significant digits, without an exponent, with its unit."""
    if value is None:
        return UNKNOWN
    places = next((places for bound, places in ((100, 0), (1, 1), (0.1, 2)) if abs(value) >= bound), 3)
    return fixed(value, places) + (THIN + unit if unit else "")


def percent(share: float | None, places: int = 0) -> str:
    """A share in 0..1 as a percentage."""
    return UNKNOWN if share is None else f"{fixed(100 * share, places)}{THIN}%"


def money(amount: float | None) -> str:
    """An amount in the currency of the prices, to the hundredth; small ones to two significant digits."""
    if amount is None:
        return UNKNOWN
    if amount == 0 or abs(amount) >= 0.1:  # noqa: PLR2004 - below, hundredths hide most differences
        return f"{amount:,.2f}".replace(",", THIN).replace("-", "\u2212")
    return fixed(amount, 1 - math.floor(math.log10(abs(amount))))


def whole(number: int | None) -> str:
    """A whole number with its digits in groups of three."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", THIN)


def parameters(number: int | None) -> str:
    """A number of parameters in millions or billions."""
    return _scaled(number, "M", "B")


def data_size(number: int | None) -> str:
    """A number of bytes in decimal megabytes or gigabytes."""
    return _scaled(number, "MB", "GB")


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return rounded(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes:02}{THIN}min" if hours else f"{minutes}{THIN}min {rest:02}{THIN}s"


def brackets(fact: Interval | ScoreFacts, *, scale: float = 1, places: int) -> str:
    """The bootstrap interval as `[low, high]`, or an empty string without one."""
    low, high = fact["low"], fact["high"]
    if low is None or high is None:
        return ""
    return f"[{fixed(scale * low, places)},{SPACE}{fixed(scale * high, places)}]"


def percent_with_interval(share: Interval) -> str:
    """A share as a percentage, followed by its interval if it has one."""
    return join_nonempty(percent(share["value"]), brackets(share, scale=100, places=0))


def join_nonempty(*parts: str | None) -> str:
    """The non-empty parts with a space between them."""
    return " ".join(filter(None, parts))


def _scaled(number: int | None, million: str, billion: str) -> str:
    if number is None:
        return UNKNOWN
    return rounded(number / 1e9, billion) if number >= 1e9 else rounded(number / 1e6, million)  # noqa: PLR2004 - a billion
