"""What the numbers mean, in one sentence and in five numbers.

The sentence claims no more than the intervals allow: a difference whose interval includes zero is called
undecided, and a student that lost by distillation is called worse.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from understudy.report.facts import (
    FINE_TUNED,
    NOTHING,
    TEACHER,
    Facts,
    Interval,
    System,
    score_of,
    system_named,
)
from understudy.report.wording import (
    brackets,
    fixed,
    max_positions,
    metric_label,
    parameters,
    percent,
    rounded,
    signed,
)

Lead = Literal["no_baseline", "worse", "undecided", "better", "near_teacher", "above_teacher"]
"""How the distilled student stands in the primary metric, as far as the intervals tell."""

MARGIN = 1.05
"""Ratios nearer to one than this are called equal: measured latencies repeat to a few percent."""


class KeyNumber(NamedTuple):
    """A number worth a tile: what it is, its value, and what to compare it with."""

    label: str
    value: str
    detail: str


def verdict(facts: Facts) -> str:
    """The result in one sentence, for someone who reads nothing else; the primary metric decides."""
    gap = facts["gap_closed"].get(facts["primary_metric"], NOTHING)
    metric, lead = metric_label(facts["primary_metric"]), _lead(facts)
    own, teacher = _score(facts, facts["method"]), _score(facts, TEACHER)
    note = f": {gap['note'].rstrip('.')}" if gap.get("note") else ""
    match standing(facts):
        case "no_baseline" if facts.get("no_gold"):
            said = f"agrees with the teacher at {own} in {metric}; the teacher, asked again, at {teacher}"
        case "no_baseline":
            said = f"scores {own} in {metric}, the teacher {teacher}; it was not compared with a fine-tuned student"
        case "worse":
            said = f"is worse than the fine-tuned student in {metric}{lead}: distillation did not help here"
        case "undecided":
            said = f"cannot be told apart from the fine-tuned student in {metric}{lead}"
        case "better" if gap["value"] is None:
            said = f"is better than the fine-tuned student in {metric}{lead}; no share of the gap is given{note}"
        case "better":
            said = f"closes {_share(gap)} of the gap in {metric} between the fine-tuned student and the teacher"
        case "near_teacher":
            said = f"is level with the teacher in {metric}: it closes {_share(gap)} of the gap"
        case "above_teacher":
            said = f"beats the teacher in {metric}, {own} against {teacher}: it closes {_share(gap)} of the gap"
    return f"The distilled student{_costs(facts)} {said}."


def standing(facts: Facts) -> Lead:
    """Which of the possible results this is, decided by the intervals of the primary metric."""
    metric = facts["primary_metric"]
    gap = facts["gap_closed"].get(metric, NOTHING)
    # The share of the gap has the sign of the advantage, so it can stand in for one that is not given.
    lead = facts.get("differences", {}).get(metric, gap)
    if lead["value"] is None:
        return "no_baseline"
    if lead["low"] is None or lead["high"] is None or lead["low"] <= 0 <= lead["high"]:
        return "undecided"
    if lead["high"] < 0:
        return "worse"
    if gap["value"] is None or gap["value"] < 1:
        return "better"
    return "above_teacher" if gap["low"] is not None and gap["low"] > 1 else "near_teacher"


def key_numbers(facts: Facts) -> list[KeyNumber]:
    """Gap closed, quality, size, latency and throughput of the distilled student."""
    metric, student = facts["primary_metric"], system_named(facts, facts["method"])
    gap = facts["gap_closed"].get(metric, NOTHING)
    others = f"fine-tuned {_score(facts, FINE_TUNED)}, teacher {_score(facts, TEACHER)}"
    share = brackets(gap, scale=100, places=0) or ("no gap to close" if gap.get("note") else "")
    first = KeyNumber(f"Gap closed in {metric_label(metric)}", percent(gap["value"]), share)
    if standing(facts) == "no_baseline":
        again = "asked again" if facts.get("no_gold") else ""
        first, others = KeyNumber(f"{metric_label(metric)} of the teacher", _score(facts, TEACHER), again), ""
    return [
        first,
        KeyNumber(metric_label(metric), _score(facts, facts["method"]), others),
        KeyNumber("Parameters", parameters(student and student["parameters"]), _than_teacher(_size(facts))),
        KeyNumber(
            "Latency, median", rounded(student and student["latency_ms"]["p50"], "ms"), _than_teacher(_speed(facts))
        ),
        KeyNumber(
            "Throughput", rounded(student and student["throughput_per_s"], "/s"), _than_teacher(_throughput(facts))
        ),
    ]


def five_numbers(facts: Facts) -> list[tuple[str, str]]:
    """The key numbers as pairs of label and value, for a terminal."""
    return [
        (number.label, f"{number.value} ({number.detail})" if number.detail else number.value)
        for number in key_numbers(facts)
    ]


def _score(facts: Facts, name: str) -> str:
    found = score_of(system_named(facts, name), facts["primary_metric"])
    return fixed(found and found["value"], max_positions(facts, facts["primary_metric"]))


def _share(gap: Interval) -> str:
    return " ".join(filter(None, (percent(gap["value"]), brackets(gap, scale=100, places=0))))


def _lead(facts: Facts) -> str:
    """The advantage over the fine-tuned student, in brackets."""
    metric = facts["primary_metric"]
    lead, places = facts.get("differences", {}).get(metric, NOTHING), max_positions(facts, metric)
    if lead["value"] is None:
        return ""
    interval = brackets(lead, places=places) or "without an interval"
    zero = ", which includes zero" if standing(facts) == "undecided" and lead["low"] is not None else ""
    return f" ({signed(lead['value'], places)} {interval}{zero})"


def _costs(facts: Facts) -> str:
    """Size, and size and speed beside the teacher's, in brackets."""
    student = system_named(facts, facts["method"])
    if student is None or student["parameters"] is None:
        return ""
    size, beside = parameters(student["parameters"]), _than_teacher(_size(facts), _speed(facts))
    return f" ({size} parameters, {beside})" if beside else f" ({size} parameters)"


def _size(facts: Facts) -> str:
    return _times(facts, lambda system: system["parameters"], more="larger", less="smaller")


def _speed(facts: Facts) -> str:
    return _times(facts, lambda system: system["latency_ms"]["p50"], more="slower", less="faster")


def _throughput(facts: Facts) -> str:
    return _times(facts, lambda system: system["throughput_per_s"], more="more", less="less")


def _than_teacher(*comparisons: str) -> str:
    said = " and ".join(filter(None, comparisons))
    return f"{said} than the teacher" if said else ""


def _times(facts: Facts, measure: Callable[[System], float | None], *, more: str, less: str) -> str:
    """How the student's measure compares with the teacher's, as `4.2 times smaller`; empty where unknown."""
    systems = [system_named(facts, name) for name in (facts["method"], TEACHER)]
    student, teacher = (measure(system) if system else None for system in systems)
    if not student or not teacher:
        return ""
    ratio = student / teacher
    if max(ratio, 1 / ratio) < MARGIN:
        return f"no {less}"
    return f"{rounded(ratio)} times {more}" if ratio > 1 else f"{rounded(1 / ratio)} times {less}"
