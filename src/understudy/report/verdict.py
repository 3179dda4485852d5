"""States the result of a run in one sentence and in five key numbers.

The sentence claims no more than the intervals allow: a difference whose interval includes zero is within noise, and
a student that lost quality by distillation is worse.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from understudy.report.content_facts import Interval
from understudy.report.facts import (
    FINE_TUNED,
    NOT_MEASURED,
    REFERENCES,
    TEACHER,
    Facts,
    SystemFacts,
    metric_label,
    score_of,
    system_named,
)
from understudy.report.formatting import (
    LOWER_IS_BETTER,
    SPACE,
    brackets,
    decimal_places,
    fixed,
    join_nonempty,
    parameters,
    percent,
    percent_with_interval,
    rounded,
    signed,
)

VerdictKind = Literal["not_learned", "no_baseline", "worse", "undecided", "better", "near_teacher", "above_teacher"]
"""The possible results in the primary metric, as far as the intervals distinguish them; `not_learned` goes first."""

CONSISTENCY_LABELS = {"missing": "Source items missing", "invented": "Items not in the source"}
"""Labels of the rates of source consistency: numbers, dates, codes and capitalised names."""
EQUAL_WITHIN = 1.05
"""Ratios closer to 1 than this count as equal: repeated latency measurements differ by a few percent."""


class KeyNumber(NamedTuple):
    """A number in a tile: its label, its value, and what to compare it with."""

    label: str
    value: str
    detail: str


def verdict(facts: Facts) -> str:
    """The result as one sentence about the primary metric."""
    return f"The distilled student{_size_and_speed(facts)} {_claim(facts)}."


def verdict_kind(facts: Facts) -> VerdictKind:
    """Which of the possible results this is: whether the student learned, then the intervals of the primary metric."""
    return "not_learned" if facts.get("not_learned") else _kind_by_intervals(facts)


def _kind_by_intervals(facts: Facts) -> VerdictKind:
    gap = _gap(facts)
    # The share of the gap has the sign of the difference, so it replaces a difference that is not given.
    difference = facts.get("differences", {}).get(facts["primary_metric"], gap)
    if difference["value"] is None:
        return "no_baseline"
    if difference["low"] is None or difference["high"] is None or difference["low"] <= 0 <= difference["high"]:
        return "undecided"
    if difference["high"] < 0:
        return "worse"
    if gap["value"] is None or gap["value"] < 1:
        return "better"
    return "above_teacher" if gap["low"] is not None and gap["low"] > 1 else "near_teacher"


def key_numbers(facts: Facts) -> list[KeyNumber]:
    """Share of the gap closed, quality, size, latency and throughput of the distilled student."""
    student = system_named(facts, facts["method"])
    return [
        *_quality_numbers(facts),
        KeyNumber("Parameters", parameters(student and student["parameters"]), _than_teacher(_size(facts))),
        KeyNumber(
            "Latency, median", rounded(student and student["latency_ms"]["p50"], "ms"), _than_teacher(_speed(facts))
        ),
        KeyNumber(
            "Throughput", rounded(student and student["throughput_per_s"], "/s"), _than_teacher(_throughput(facts))
        ),
    ]


def consistency_numbers(facts: Facts) -> Iterator[KeyNumber]:
    """A number for each way in which the student's outputs agree with their sources clearly less than the teacher's."""
    consistency = facts.get("consistency")
    for key in consistency["worse"] if consistency else ():
        rates = {
            name: own["missing"] if key == "missing" else own["invented"]
            for name, own in facts["consistency"]["systems"].items()
        }
        others = [f"{name} {_points(rates[name])}" for name in (TEACHER, REFERENCES) if name in rates]
        label = f"{CONSISTENCY_LABELS[key]}{SPACE}{LOWER_IS_BETTER}"
        yield KeyNumber(label, _points(rates[facts["method"]]), f"worse than the teacher: {', '.join(others)}")


def five_numbers(facts: Facts) -> list[tuple[str, str]]:
    """The key numbers, and those on source consistency, as pairs of label and value for a terminal."""
    return [
        (number.label, f"{number.value} ({number.detail})" if number.detail else number.value)
        for number in (*key_numbers(facts), *consistency_numbers(facts))
    ]


def _claim(facts: Facts) -> str:
    """The predicate of the verdict."""
    gap, metric = _gap(facts), metric_label(facts, facts["primary_metric"])
    own, teacher = _primary_score(facts, facts["method"]), _primary_score(facts, TEACHER)
    difference, share = _difference(facts), percent_with_interval(gap)
    match verdict_kind(facts):
        case "not_learned":
            claim = f"has not learned: {'; '.join(facts['not_learned'])}"
        case "no_baseline" if facts.get("references_by_teacher"):
            against = f"{metric} against references written by the teacher"
            claim = f"scores {own} in {against}; a second response of the teacher scores {teacher}"
        case "no_baseline":
            claim = f"scores {own} in {metric}, the teacher {teacher}; there is no fine-tuned student to compare with"
        case "worse":
            claim = f"is worse than the fine-tuned student in {metric}{difference}: distillation did not help"
        case "undecided":
            claim = f"differs from the fine-tuned student in {metric} only within noise{difference}"
        case "better" if gap["value"] is None:
            why = f": {gap['note'].rstrip('.')}" if gap.get("note") else ""
            claim = f"is better than the fine-tuned student in {metric}{difference}; share of the gap unknown{why}"
        case "better":
            claim = f"closes {share} of the gap in {metric} between the fine-tuned student and the teacher"
        case "near_teacher":
            claim = f"matches the teacher in {metric} within noise: it closes {share} of the gap"
        case "above_teacher":
            claim = f"is better than the teacher in {metric} ({own} versus {teacher}): it closes {share} of the gap"
    return claim


def _quality_numbers(facts: Facts) -> tuple[KeyNumber, KeyNumber]:
    metric, gap = metric_label(facts, facts["primary_metric"]), _gap(facts)
    own, teacher = _primary_score(facts, facts["method"]), _primary_score(facts, TEACHER)
    if _kind_by_intervals(facts) == "no_baseline":
        detail = "a second response" if facts.get("references_by_teacher") else ""
        return KeyNumber(f"{metric} of the teacher", teacher, detail), KeyNumber(metric, own, "")
    interval = brackets(gap, scale=100, places=0) or ("no gap to close" if gap.get("note") else "")
    others = f"fine-tuned {_primary_score(facts, FINE_TUNED)}, teacher {teacher}"
    return KeyNumber(f"Gap closed in {metric}", percent(gap["value"]), interval), KeyNumber(metric, own, others)


def _points(rate: Interval) -> str:
    return "without items" if rate["value"] is None else percent(rate["value"] / 100, 1)


def _gap(facts: Facts) -> Interval:
    return facts["gap_closed"].get(facts["primary_metric"], NOT_MEASURED)


def _primary_score(facts: Facts, name: str) -> str:
    score = score_of(system_named(facts, name), facts["primary_metric"])
    return fixed(score and score["value"], decimal_places(facts, facts["primary_metric"]))


def _difference(facts: Facts) -> str:
    """The difference from the fine-tuned student, in parentheses."""
    metric = facts["primary_metric"]
    difference, places = facts.get("differences", {}).get(metric, NOT_MEASURED), decimal_places(facts, metric)
    if difference["value"] is None:
        return ""
    interval = brackets(difference, places=places) or "without an interval"
    within = _kind_by_intervals(facts) == "undecided" and difference["low"] is not None
    zero = ", the interval includes 0" if within else ""
    return f" ({join_nonempty(signed(difference['value'], places), interval)}{zero})"


def _size_and_speed(facts: Facts) -> str:
    """The student's size, and its size and speed relative to the teacher, in parentheses."""
    student = system_named(facts, facts["method"])
    if student is None or student["parameters"] is None:
        return ""
    size, relative = parameters(student["parameters"]), _than_teacher(_size(facts), _speed(facts))
    return f" ({size} parameters, {relative})" if relative else f" ({size} parameters)"


def _size(facts: Facts) -> str:
    return _ratio(facts, lambda system: system["parameters"], more="larger", less="smaller", equal="no smaller")


def _speed(facts: Facts) -> str:
    return _ratio(facts, lambda system: system["latency_ms"]["p50"], more="slower", less="faster", equal="no faster")


def _throughput(facts: Facts) -> str:
    return _ratio(facts, lambda system: system["throughput_per_s"], more="higher", less="lower", equal="no higher")


def _than_teacher(*comparisons: str) -> str:
    text = " and ".join(filter(None, comparisons))
    return f"{text} than the teacher" if text else ""


def _ratio(facts: Facts, measure: Callable[[SystemFacts], float | None], *, more: str, less: str, equal: str) -> str:
    """Ratio of the student's to the teacher's measure, such as `4.2 times smaller`; empty if one is missing."""
    systems = [system_named(facts, name) for name in (facts["method"], TEACHER)]
    student, teacher = (measure(system) if system else None for system in systems)
    if not student or not teacher:
        return ""
    ratio = student / teacher
    if max(ratio, 1 / ratio) < EQUAL_WITHIN:
        return equal
    return f"{rounded(ratio)} times {more}" if ratio > 1 else f"{rounded(1 / ratio)} times {less}"
