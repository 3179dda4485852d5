"""Why a distilled student has not learned, from the facts of a run."""

from collections.abc import Iterator

from understudy.evaluation.metrics import METRICS
from understudy.report.facts import (
    FINE_TUNED,
    REFERENCES,
    TEACHER,
    Facts,
    metric_label,
    score_of,
    system_named,
)
from understudy.report.formatting import percent

NEAR_ZERO = 1.0
"""Percent: below it, a metric that is 100 for a perfect system shows no sign of learning."""
FAR_BELOW = 0.5
"""Share of the fine-tuned student's score, below which a student that is clearly worse counts as not trained."""
MOSTLY = 0.5
"""Share of the outputs that are cut, or that repeat or are empty, from which a system has not learned to end a text."""


def reasons_not_learned(facts: Facts) -> list[str]:
    """Clauses that say why; empty where the student has learned.

    A score near 0 is enough, and so are outputs that mostly do not end, repeat or are empty, whatever the score: the
    fine-tuned student may be even worse. Few steps or a flat dev metric are only with a score that is clearly below
    the teacher's and not clearly above that of the fine-tuned student: a pretrained student may need few steps.
    """
    reasons = [*_by_score(facts), *_by_outputs(facts, facts["method"])]
    if reasons or _is_behind(facts):
        reasons += _by_training(facts)
    if reasons and teacher_problems(facts):  # the warnings say why
        targets = ", and the pseudo-targets are its texts" if facts.get("pool") else ""
        reasons.append(f"the teacher has not learned either{targets}")
    return reasons


def teacher_problems(facts: Facts) -> list[str]:
    """Clauses that say why a local teacher has not learned; empty where it has."""
    health = facts.get("health", {}).get(TEACHER)
    if health is None or health["unfinished"] is None:  # an API teacher, whose outputs are not generated here
        return []
    return [*_near_zero(facts, TEACHER), *_by_outputs(facts, TEACHER)]


def _near_zero(facts: Facts, system: str) -> Iterator[str]:
    name = facts["primary_metric"]
    own = score_of(system_named(facts, system), name)
    if own and name in METRICS and own["higher_is_better"] and own["value"] < NEAR_ZERO:
        yield f"{metric_label(facts, name)} is {own['value']:.1f}"


def _by_score(facts: Facts) -> Iterator[str]:
    name, label = facts["primary_metric"], metric_label(facts, facts["primary_metric"])
    own = score_of(system_named(facts, facts["method"]), name)
    if own is None or name not in METRICS or not own["higher_is_better"]:
        return
    yield from _near_zero(facts, facts["method"])
    baseline = score_of(system_named(facts, FINE_TUNED), name)
    lead = facts.get("differences", {}).get(name)
    if baseline and lead and (lead["high"] or 0) < 0 and own["value"] < FAR_BELOW * baseline["value"]:
        yield f"its {label} is less than half of the fine-tuned student's"


def _by_outputs(facts: Facts, system: str) -> Iterator[str]:
    health = facts.get("health", {})
    own, references = health.get(system), health.get(REFERENCES)
    if own is None:
        return
    cut, useless = own["unfinished"] or 0.0, own["repetition"] + own["empty"]
    # References are within the length limit, but those of some tasks repeat.
    expected = references["repetition"] + references["empty"] if references else 0.0
    if cut >= MOSTLY:
        yield f"{percent(cut)} of its outputs were cut at the length limit"
    if useless - expected >= MOSTLY:
        yield f"{percent(useless)} of its outputs repeat themselves or are empty"


def _by_training(facts: Facts) -> Iterator[str]:
    health = facts.get("health", {}).get(facts["method"])
    if health is None or not health["steps"]:
        return
    steps, warmup = health["steps"], health["warmup_steps"] or 0
    if steps < warmup:
        yield f"it was trained for {steps} steps, fewer than the {warmup} of warm-up"
    if health["dev_moved"] is False:
        yield f"the dev score never moved in {health['evaluations']} evaluations"


def _is_behind(facts: Facts) -> bool:
    """Whether the student is below the teacher and not clearly better than the fine-tuned student."""
    name = facts["primary_metric"]
    own, teacher = (score_of(system_named(facts, system), name) for system in (facts["method"], TEACHER))
    if own is None or teacher is None or own["low"] is None or own["high"] is None:
        return False
    below = own["high"] < teacher["value"] if own["higher_is_better"] else own["low"] > teacher["value"]
    lead = facts.get("differences", {}).get(name)
    return below and not (lead and lead["low"] is not None and lead["low"] > 0)
