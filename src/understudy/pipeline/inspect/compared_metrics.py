"""The metrics of a comparison, the tallies of its systems, and their rows: scores and paired advantages."""

from collections.abc import Mapping, Sequence

from understudy.config.task import Task
from understudy.errors import ConfigError
from understudy.evaluation.bootstrap import advantage, same_units, score
from understudy.evaluation.degenerate import EMPTY, REPETITION
from understudy.evaluation.metrics import METRICS, Metric, can_score, result_name, tally, unknown_metrics
from understudy.evaluation.reference_checks import working_metrics
from understudy.evaluation.tally import IntArray, Tally
from understudy.pipeline.inspect.compared_systems import ComparedSources, ComparedSystem
from understudy.pipeline.metric_settings import load_metrics, metric_settings
from understudy.pipeline.stages.report_content import CONSISTENCY
from understudy.report.comparison_facts import ComparisonRow
from understudy.report.content_facts import Interval
from understudy.report.facts import NOT_MEASURED

OUTPUT_METRICS: Mapping[str, Metric] = {
    **{name: METRICS[name] for name in CONSISTENCY.values()},
    **{metric.name: metric for metric in (REPETITION, EMPTY)},
}
"""What is measured of the outputs of every comparison, whatever the task's metrics are."""
OF_THE_SYSTEM = ("task", "data", "decoding", "split")
"""Fields of a signature that say what was scored, not how."""

LoadedMetrics = Mapping[str, tuple[Metric, object]]
"""Name in results -> the metric and its resource."""
SystemTallies = Mapping[str, Mapping[str, Tally]]
"""System, the candidate first -> metric -> its tally; metrics that cannot score the system are left out."""


def default_metrics(sources: ComparedSources) -> tuple[str, ...]:
    """The metrics of the first run's task; for files alone the default ones that can score their references."""
    if sources.first_run:
        return sources.first_run.recipe.task.metrics
    names = [name for name in Task().metrics if not METRICS[name].needs_likelihood]
    return working_metrics(names, [example.targets for example in sources.examples])


def load_compared_metrics(sources: ComparedSources, names: Sequence[str], *, allow_code: bool) -> LoadedMetrics:
    """Metrics with the settings of the first run's task, which score all systems.

    Raises:
        ConfigError: for an unknown metric, or one that needs what the task lacks.
    """
    if messages := unknown_metrics(names):
        raise ConfigError("; ".join(messages))
    task = sources.first_run.recipe.task if sources.first_run else Task()
    return load_metrics(list(map(result_name, names)), metric_settings(task, names), allow_code=allow_code)


def tallies_of_systems(metrics: LoadedMetrics, systems: Mapping[str, ComparedSystem]) -> SystemTallies:
    """All systems under all metrics and those of `OUTPUT_METRICS`."""
    everything = {**{name: (metric, None) for name, metric in OUTPUT_METRICS.items()}, **metrics}
    return {
        system: {
            name: tally(
                metric, own.outputs, own.prompt if name == CONSISTENCY["invented"] else resource, fields=own.fields
            )
            for name, (metric, resource) in everything.items()
            if can_score(metric, own.outputs)
        }
        for system, own in systems.items()
    }


def row_of(metric: Metric, tallies: SystemTallies, weights_RN: IntArray) -> ComparisonRow:
    """The scores of all systems in one metric, and the candidate's advantage over each other system."""
    scored = {system: own[metric.name] for system, own in tallies.items() if metric.name in own}
    candidate = next(iter(tallies))
    return {
        "label": metric.label,
        "higher_is_better": metric.higher_is_better,
        "scores": {system: _score(own, weights_RN) for system, own in scored.items()},
        "advantages": {
            system: _advantage(scored[candidate], own, weights_RN)
            for system, own in scored.items()
            if system != candidate and candidate in scored
        },
        "signatures": {system: own.signature for system, own in scored.items()},
    }


def not_comparable(one: Tally, other: Tally) -> str:
    """Why the difference between two scores means nothing, as a sentence; empty where it means something."""
    if not same_units(one, other):
        return f"{one.metric} is a mean over tokens, and the systems tokenize the same targets differently"
    if differences := other_settings(one.signature, other.signature):
        return f"the two scores have different signatures: {', '.join(differences)}"
    missing = [own for own in (one, other) if not has_items(own)]
    return f"there is nothing that {one.metric} could count" if missing else ""


def has_items(own: Tally) -> bool:
    """Whether there is anything that a rate of items counts; a report has no rate where there is not."""
    return own.metric not in CONSISTENCY.values() or bool(own.statistics_ND[:, 1].any())


def other_settings(one: str, other: str) -> list[str]:
    """The settings in which two signatures of a metric differ, such as `tok:13a and tok:zh`."""
    first, second = _settings(one), _settings(other)
    names = [name for name in dict.fromkeys((*first, *second)) if first.get(name) != second.get(name)]
    return [f"{name}:{first.get(name, 'none')} and {name}:{second.get(name, 'none')}" for name in names]


def _settings(signature: str) -> dict[str, str]:
    fields = (part.partition(":") for part in signature.split("|")[1:])
    return {name: value for name, _, value in fields if name not in OF_THE_SYSTEM}


def _score(own: Tally, weights_RN: IntArray) -> Interval:
    if not has_items(own):
        return {**NOT_MEASURED, "note": not_comparable(own, own)}
    found = score(own, weights_RN)
    return {"value": found.value, "low": found.low, "high": found.high}


def _advantage(candidate: Tally, other: Tally, weights_RN: IntArray) -> Interval:
    if note := not_comparable(candidate, other):
        return {**NOT_MEASURED, "note": note}
    lead = advantage(candidate, other, weights_RN)
    return {"value": lead.value, "low": lead.low, "high": lead.high}
