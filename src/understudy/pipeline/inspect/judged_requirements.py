"""Judges requirements on the candidate of a comparison: by the point estimate and by the paired interval."""

from collections.abc import Mapping

from understudy.errors import EvaluationError
from understudy.evaluation.margins import Margin, holds, measured_margin, score_margin
from understudy.evaluation.requirements import Requirement
from understudy.evaluation.tally import IntArray, Tally
from understudy.pipeline.inspect.compared_costs import cost_of, measured_alike
from understudy.pipeline.inspect.compared_metrics import SystemTallies, has_items, not_comparable
from understudy.pipeline.inspect.compared_systems import ComparedSystem
from understudy.report.comparison_costs import COST_MEASURES
from understudy.report.comparison_facts import RequirementFacts


def judged(
    requirement: Requirement,
    other: str | None,
    systems: Mapping[str, ComparedSystem],
    tallies: SystemTallies,
    weights_RN: IntArray,
) -> RequirementFacts:
    """A requirement with its margin.

    Args:
        requirement: on the first of the systems.
        other: the full name of the system that it names; None if its bound is a number.
        systems: of the comparison.
        tallies: of the same systems.
        weights_RN: from `resample_weights`.

    Raises:
        EvaluationError: if a value is unknown, or two values cannot be compared.
    """
    if requirement.metric in COST_MEASURES:
        margin = _cost_margin(requirement, other, systems)
    else:
        margin = _score_margin(requirement, other, tallies, weights_RN)
    low = margin.low
    return {
        "requirement": requirement.text,
        "metric": requirement.metric,
        "value": margin.value,
        "bound": margin.bound,
        "margin": {"value": margin.margin, "low": low, "high": margin.high},
        "holds": holds(requirement, margin.margin),
        "holds_confidently": None if low is None else holds(requirement, low),
    }


def _score_margin(requirement: Requirement, other: str | None, tallies: SystemTallies, weights_RN: IntArray) -> Margin:
    candidate = _tally_of(requirement, next(iter(tallies)), tallies)
    second = None if other is None else _tally_of(requirement, other, tallies)
    if second and (problem := not_comparable(candidate, second)):
        raise EvaluationError(f"requirement {requirement.text!r} cannot be judged: {problem}; remove it")
    return score_margin(requirement, candidate, second, weights_RN)


def _tally_of(requirement: Requirement, system: str, tallies: SystemTallies) -> Tally:
    own = tallies[system].get(requirement.metric)
    if own is None:
        raise EvaluationError(
            f"requirement {requirement.text!r} cannot be judged: {requirement.metric} needs the log-likelihood of the "
            f"references, and {system} has texts alone; remove it"
        )
    if not has_items(own):
        raise EvaluationError(
            f"requirement {requirement.text!r} cannot be judged: {system} has nothing that {requirement.metric} could "
            "count (numbers, dates, codes or names); remove it"
        )
    return own


def _cost_margin(requirement: Requirement, other: str | None, systems: Mapping[str, ComparedSystem]) -> Margin:
    candidate = next(iter(systems.values()))
    second = None if other is None else systems[other]
    value = _known_cost(requirement, candidate)
    if second is None:
        return measured_margin(requirement, value, None)
    if COST_MEASURES[requirement.metric].depends_on_machine and not measured_alike(candidate, second):
        raise EvaluationError(
            f"requirement {requirement.text!r} cannot be judged: {candidate.name} and {second.name} were measured on "
            "different machines or under different conditions; run both recipes on one machine, or require a number"
        )
    return measured_margin(requirement, value, _known_cost(requirement, second))


def _known_cost(requirement: Requirement, system: ComparedSystem) -> float:
    value = cost_of(system, requirement.metric)
    if value is None:
        remedy = " (set evaluation.price_per_hour in its recipe)" if requirement.metric == "cost_per_1000" else ""
        raise EvaluationError(
            f"requirement {requirement.text!r} cannot be judged: {requirement.metric} of {system.name} is not known"
            f"{remedy}; remove it, or compare a run that measured it"
        )
    return value
