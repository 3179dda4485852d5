"""Which examples to show: where one system does much better or much worse than another.

Numbers about whole splits live in `bootstrap`; how examples are shown is the report's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.errors import unknown_name
from understudy.evaluation.metrics import tally
from understudy.evaluation.tally import require_pairs
from understudy.records import Prediction


@dataclass(frozen=True, slots=True)
class Comparison:
    """One example as every system answered it."""

    id: str
    source: str
    references: tuple[str, ...]
    texts: Mapping[str, str]
    """Name of the system -> what it wrote."""
    scores: Mapping[str, float]
    """Name of the system -> the metric on this example alone."""


def best_and_worst(
    predictions_by_system: Mapping[str, Sequence[Prediction]],
    *,
    system: str,
    against: str,
    k: int = 5,
    metric: str,
) -> tuple[list[Comparison], list[Comparison]]:
    """The examples where `system` leads `against` most, and where it falls behind most.

    Only true leads count as best and only true lags as worst, so either list may be short. Equal
    distances keep the order of the split.

    Args:
        predictions_by_system: the same examples in the same order for every system.
        system: the system in question, usually the distilled student.
        against: the system to compare it with, usually the teacher.
        k: at most so many of each.
        metric: a key of `METRICS` that means something on one sentence; chrF does.

    Raises:
        ConfigError: if a system or the metric is unknown.
        EvaluationError: if the systems answered different examples.
    """
    for name in (system, against):
        if name not in predictions_by_system:
            raise unknown_name("system", name, predictions_by_system)
    tallies = {name: tally(metric, own) for name, own in predictions_by_system.items()}
    require_pairs(*tallies.values())
    scores = {name: own.per_example() for name, own in tallies.items()}
    lead_N = scores[system] - scores[against]
    if not tallies[system].higher_is_better:
        lead_N = -lead_N
    order = sorted(range(len(lead_N)), key=lambda index: -lead_N[index])
    best = [index for index in order if lead_N[index] > 0][:k]
    worst = [index for index in reversed(order) if lead_N[index] < 0][:k]

    def compare(index: int) -> Comparison:
        shown = predictions_by_system[system][index]
        return Comparison(
            id=shown.id,
            source=shown.source,
            references=shown.references,
            texts={name: own[index].text for name, own in predictions_by_system.items()},
            scores={name: float(own_N[index]) for name, own_N in scores.items()},
        )

    return [compare(index) for index in best], [compare(index) for index in worst]
