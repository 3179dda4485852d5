"""How numbers and names are said: few digits, a unit, and a dash for what is not known.

Formatting only; which number is worth saying is decided in `verdict.py` and `tables.py`.
"""

from understudy.report.facts import FINE_TUNED, TEACHER, Facts, Interval, ScoreFacts, score_of

UNKNOWN = "–"

METRICS = {
    "bertscore": "BERTScore",
    "bleu": "BLEU",
    "chrf": "chrF",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "meteor": "METEOR",
    "nll": "NLL of gold",
    "rouge": "ROUGE",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "slot_error_rate": "Slot error rate",
    "ter": "TER",
    "wer": "WER",
}
"""Metrics whose usual spelling is not their key."""

SYSTEMS = {TEACHER: "Teacher", FINE_TUNED: "Fine-tuned student"}

THIN = "\u202f"
SPACE = "\u00a0"
"""Hold a number and its unit, and the two ends of an interval, on one line."""


def metric_label(metric: str) -> str:
    """The metric's usual spelling."""
    return METRICS.get(metric, metric)


def system_label(name: str) -> str:
    """The system's name for people: `joint_teaching` is said "Joint teaching"."""
    return SYSTEMS.get(name, name.replace("_", " ").capitalize())


def max_positions(facts: Facts, metric: str) -> int:
    """Decimal places of a metric's scores: one on a scale of a hundred, three on a scale of one."""
    scores = [score_of(system, metric) for system in facts["systems"]]
    return 1 if max((abs(score["value"]) for score in scores if score), default=0) > 1 else 3


def fixed(value: float | None, places: int) -> str:
    """A number to so many decimal places, with a true minus sign."""
    return UNKNOWN if value is None else f"{value:.{places}f}".replace("-", "−")


def signed(value: float | None, places: int) -> str:
    """A difference: its sign is always shown."""
    return UNKNOWN if value is None else f"{value:+.{places}f}".replace("-", "−")


def rounded(value: float | None, unit: str = "") -> str:
    """A measurement to about three digits, never in exponents, with its unit."""
    if value is None:
        return UNKNOWN
    places = next((places for bound, places in ((100, 0), (1, 1), (0.1, 2)) if abs(value) >= bound), 3)
    return fixed(value, places) + (THIN + unit if unit else "")


def percent(share: float | None, places: int = 0) -> str:
    """A share of 0..1 in percent."""
    return UNKNOWN if share is None else f"{fixed(100 * share, places)}{THIN}%"


def whole(number: int | None) -> str:
    """A whole number in groups of three."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", THIN)


def parameters(number: int | None) -> str:
    """A model's size in millions or billions."""
    return _scaled(number, "M", "B")


def data_size(number: int | None) -> str:
    """Bytes in decimal megabytes or gigabytes."""
    return _scaled(number, "MB", "GB")


def duration(seconds: float) -> str:
    """A duration in its natural units."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return rounded(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes:02}{THIN}min" if hours else f"{minutes}{THIN}min {rest:02}{THIN}s"


def brackets(fact: Interval | ScoreFacts, *, scale: float = 1, places: int) -> str:
    """The bootstrap interval as `[low, high]`; empty where there is none."""
    low, high = fact["low"], fact["high"]
    if low is None or high is None:
        return ""
    return f"[{fixed(scale * low, places)},{SPACE}{fixed(scale * high, places)}]"


def _scaled(number: int | None, million: str, billion: str) -> str:
    if number is None:
        return UNKNOWN
    return rounded(number / 1e9, billion) if number >= 1e9 else rounded(number / 1e6, million)  # noqa: PLR2004 - a billion
