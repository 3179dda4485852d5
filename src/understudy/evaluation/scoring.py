"""From a system's outputs to a tally under one metric, and the definition of a metric.

A metric owns its needs: statistics per example, a formula on their sum, a resource prepared before anything is trained,
the settings in its signature, its direction and its label. This module does not depend on any particular metric.
Axes: N examples, D statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from types import MappingProxyType
from unicodedata import is_normalized, normalize

import numpy as np

from understudy.config.task import BertScore, Task
from understudy.errors import EvaluationError
from understudy.evaluation.slots import Checker
from understudy.evaluation.tally import FloatArray, Formula, Tally
from understudy.records import Prediction

STATISTICS_AXES = 2
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class SystemOutputs:
    """Everything of one system that a metric may use."""

    predictions: Sequence[Prediction]
    likelihood_ND: FloatArray | None = None
    """Nats and tokens of each example's references, (N, 2), from `likelihood`; None where the system has no network."""


@dataclass(frozen=True, slots=True)
class MetricContext:
    """Everything of a task from which a metric may prepare its resource."""

    checker: Checker | None = None
    bertscore: BertScore | None = None
    prompt: str = ""
    """What every input of a local model contains: the prompt without its placeholder."""

    @classmethod
    def of(cls, task: Task, *, checker: Checker | None = None) -> "MetricContext":
        """The context of a task; the checker is loaded by the caller."""
        return cls(checker, task.bertscore, task.prompt.replace("{source}", " ").strip())


Statistics = Callable[[SystemOutputs, object], FloatArray]
"""A system's outputs and the prepared resource to statistics, (N, D)."""
SettingsFunction = Callable[[SystemOutputs, object], Mapping[str, str]]


def no_resource(_context: MetricContext) -> None:
    """The preparation of a metric that needs no resource."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: statistics per example, a formula on their sum, and all that other modules need to know about it."""

    name: str
    label: str
    """For tables and the report."""
    statistics: Statistics
    formula: Formula
    settings: Mapping[str, str] | SettingsFunction = field(default_factory=dict)
    """Whatever changes the value, for the signature; may depend on outputs and resource."""
    prepare: Callable[[MetricContext], object] = no_resource
    """The resource for `statistics`. Called before anything is trained; raises an UnderstudyError that says what is
    missing. It should be cheap: large weights are loaded when the first text is scored."""
    higher_is_better: bool = True
    needs_references: bool = True
    needs_texts: bool = True
    """False where the generated texts are not used, so that dev scoring can skip generation."""
    needs_likelihood: bool = False
    """Whether `SystemOutputs.likelihood_ND` must be there."""
    units: Callable[[FloatArray], FloatArray] | None = None
    """Statistics to `Tally.units_N`, for a metric whose denominator depends on the system."""


def on_texts(statistics: Callable[[Sequence[Prediction]], FloatArray]) -> Statistics:
    """Statistics of a metric that needs predictions alone."""
    return lambda outputs, _resource: statistics(outputs.predictions)


def tally(
    metric: Metric, outputs: SystemOutputs, resource: object = None, *, fields: Mapping[str, str] = NONE
) -> Tally:
    """One system's outputs under one metric.

    Texts are compared in Unicode's composed form (NFC): a letter with its accent is one letter, however it is encoded.

    Args:
        metric: from `metric_named`.
        outputs: of one system; empty texts are scored like any other.
        resource: from the metric's `prepare`, or by the metric's name from `prepare_metrics`.
        fields: what the caller adds to the signature: data hash, split, decoding.

    Raises:
        EvaluationError: if there are no predictions, or references, likelihoods or the resource are missing.
    """
    outputs = replace(outputs, predictions=[_composed(one) for one in outputs.predictions])
    predictions = outputs.predictions
    if not predictions:
        raise EvaluationError(f"{metric.name} got no predictions; give at least one")
    if metric.needs_references:
        _require_references(metric.name, predictions)
    if not can_score(metric, outputs):
        raise EvaluationError(
            f"{metric.name} needs the log-likelihood of the references, and this system has texts alone; remove "
            f"{metric.name} from the metrics, or score a system with a network"
        )
    statistics_ND = metric.statistics(outputs, resource)
    _refuse_other_shapes(metric, statistics_ND, len(predictions))
    settings = metric.settings(outputs, resource) if callable(metric.settings) else metric.settings
    form = {"norm": "nfc"} if metric.needs_texts else {}
    described = {**fields, **_counts(predictions, references=metric.needs_references), **form, **settings}
    return Tally(
        metric=metric.name,
        ids=tuple(prediction.id for prediction in predictions),
        statistics_ND=statistics_ND,
        formula=metric.formula,
        signature=_signature(metric.name, described),
        higher_is_better=metric.higher_is_better,
        units_N=metric.units(statistics_ND) if metric.units else None,
    )


def _composed(one: Prediction) -> Prediction:
    texts = (one.source, *one.references, one.text)
    if all(is_normalized("NFC", text) for text in texts):
        return one
    source, *references, text = (normalize("NFC", text) for text in texts)
    return Prediction(one.id, source, tuple(references), text)


def can_score(metric: Metric, outputs: SystemOutputs) -> bool:
    """Whether the outputs have what the metric needs; texts of an API teacher or another tool have no likelihood."""
    return outputs.likelihood_ND is not None or not metric.needs_likelihood


def not_prepared(name: str) -> EvaluationError:
    """The error of a metric whose statistics get another resource than its `prepare` returns."""
    return EvaluationError(f"{name} got no prepared resource; pass what its prepare(context) returned to tally")


def _refuse_other_shapes(metric: Metric, statistics_ND: FloatArray, count: int) -> None:
    """Refuses what a metric of the user's own returns in another form than declared."""
    shape = np.shape(statistics_ND)
    if not isinstance(statistics_ND, np.ndarray) or len(shape) != STATISTICS_AXES or len(statistics_ND) != count:
        raise EvaluationError(
            f"{metric.name} needs one row of statistics per prediction, got shape {shape} for {count} predictions; "
            "return an array (N, D) from its statistics"
        )
    value = metric.formula(statistics_ND.sum(axis=0, keepdims=True))
    if np.shape(value) != (1,):
        raise EvaluationError(
            f"{metric.name} needs one value per row of summed statistics, got shape {np.shape(value)} for 1 row; "
            "return an array (R,) from its formula"
        )


def _require_references(name: str, predictions: Sequence[Prediction]) -> None:
    without = [prediction.id for prediction in predictions if not prediction.references]
    if without:
        raise EvaluationError(
            f"{name} compares with references, and {len(without)} of {len(predictions)} predictions have none "
            f"(first: {without[0]!r}); give their examples targets, or choose a metric that needs no references"
        )


def _counts(predictions: Sequence[Prediction], *, references: bool) -> dict[str, str]:
    counts = {"n": str(len(predictions))}
    if references:
        numbers = [len(prediction.references) for prediction in predictions]
        few, many = min(numbers), max(numbers)
        counts["refs"] = str(few) if few == many else f"{few}-{many}"
    return counts


def _signature(name: str, described: Mapping[str, str]) -> str:
    fields = {**described, "understudy": version("understudy")}
    return "|".join([name, *(f"{key}:{value}" for key, value in fields.items())])
