"""Selects examples to show: where one system is much better or much worse than another.

Scores of whole splits are in `bootstrap`; the report decides how examples are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.errors import unknown_name
from understudy.evaluation.metrics import SystemOutputs, metric_named, tally
from understudy.evaluation.tally import require_pairs
from understudy.records import Prediction


@dataclass(frozen=True, slots=True)
class Comparison:
    """One example with the prediction and score of every system."""

    id: str
    source: str
    references: tuple[str, ...]
    texts: Mapping[str, str]
    """Name of the system -> its prediction."""
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
    """The examples where `system` is best relative to `against`, and where it is worst.

    The first list holds examples where `system` is strictly better, the second where it is strictly worse, so either
    may be short. Equal differences keep the order of the split.

    Args:
        predictions_by_system: the same examples in the same order for every system.
        system: name of the first system, usually the distilled student.
        against: name of the system it is compared with, usually the teacher.
        k: the maximal length of each list.
        metric: a key of `METRICS` that needs texts alone and is meaningful for one sentence, such as chrf.

    Raises:
        ConfigError: if a system or the metric is unknown.
        EvaluationError: if the systems have different examples.
    """
    for name in (system, against):
        if name not in predictions_by_system:
            raise unknown_name("system", name, predictions_by_system)
    chosen = metric_named(metric)
    tallies = {name: tally(chosen, SystemOutputs(own)) for name, own in predictions_by_system.items()}
    require_pairs(*tallies.values())
    scores = {name: own.per_example() for name, own in tallies.items()}
    advantage_N = scores[system] - scores[against]
    if not chosen.higher_is_better:
        advantage_N = -advantage_N
    order = sorted(range(len(advantage_N)), key=lambda index: -advantage_N[index])
    best = [index for index in order if advantage_N[index] > 0][:k]
    worst = [index for index in reversed(order) if advantage_N[index] < 0][:k]

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
