"""The metrics by name, and metrics of the user's own code. To add a metric, add an entry to `METRICS`.

What a metric is, is defined in `scoring`; the mathematics is in `overlap`, `edits`, `meteor`, `bertscore`, `diversity`,
`slots` and `likelihood`. All scores but nll are in percent.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from understudy.custom_code import is_custom, load_object, reporting, source_digest
from understudy.errors import ConfigError, unknown_name
from understudy.evaluation.bertscore import BERTSCORE
from understudy.evaluation.consistency import SOURCE_INVENTED, SOURCE_MISSING
from understudy.evaluation.diversity import distinct_statistics
from understudy.evaluation.edits import exact_match_statistics, wer_statistics, wer_unit
from understudy.evaluation.meteor import METEOR
from understudy.evaluation.nll import NLL
from understudy.evaluation.overlap import bleu, bleu_statistics, chrf, chrf_statistics, rouge_statistics
from understudy.evaluation.scoring import (
    Metric,
    MetricContext,
    SystemOutputs,
    can_score,
    not_prepared,
    on_texts,
    tally,
)
from understudy.evaluation.slots import Checker, slot_statistics
from understudy.evaluation.tally import FloatArray, ratio
from understudy.evaluation.words import Tokenization, fitting

__all__ = [
    "METRICS",
    "Metric",
    "MetricContext",
    "SystemOutputs",
    "can_score",
    "metric_named",
    "on_texts",
    "prepare_metrics",
    "ratio",
    "result_name",
    "tally",
    "unknown_metrics",
]


def metric_named(name: str, *, allow_code: bool = False) -> Metric:
    """A metric of the table, or one of the user's own code.

    Args:
        name: a key of `METRICS`, or 'package.module:object' or 'path/to/file.py:object' for a `Metric`. Results call
            it by the name of the object, and its signature contains a digest of its source.
        allow_code: whether the user has allowed custom code.

    Raises:
        ConfigError: if the metric is unknown, or custom code is not allowed, not found or not a `Metric`.
    """
    if name in METRICS:
        return METRICS[name]
    if not is_custom(name):
        raise unknown_name("metric", name, METRICS)
    found = load_object(name, allowed=allow_code)
    if not isinstance(found, Metric):
        raise ConfigError(
            f"metric {name!r} is of type {type(found).__name__}, not an understudy.evaluation.metrics.Metric; build "
            "one, as docs/extending.md shows"
        )
    own = replace(
        found,
        name=result_name(name),
        statistics=reporting(name, found.statistics),
        formula=reporting(name, found.formula),
        prepare=reporting(name, found.prepare),
        units=reporting(name, found.units) if found.units else None,
        settings=reporting(name, found.settings) if callable(found.settings) else found.settings,
    )
    return with_digest(own, name)


def result_name(name: str) -> str:
    """What results call a metric: its key in `METRICS`, or the name of the object for the user's own code."""
    return name.rpartition(":")[2] if is_custom(name) else name


def unknown_metrics(names: Iterable[str]) -> list[str]:
    """A message for each name that is neither in the table nor of the form of custom code, or that results share."""
    names = tuple(names)
    unknown = [name for name in names if name not in METRICS and not is_custom(name)]
    shared = [name for name, count in Counter(map(result_name, names)).items() if count > 1]
    return [
        *(str(unknown_name("metric", name, METRICS)) for name in unknown),
        *(
            f"metrics {' and '.join(own for own in names if result_name(own) == name)} have the same name {name!r} in "
            "results; rename the object of your own"
            for name in shared
        ),
    ]


def prepare_metrics(names: Iterable[str], context: MetricContext, *, allow_code: bool = False) -> Mapping[str, object]:
    """The resource of each metric by the metric's name.

    Raises:
        ConfigError: as `metric_named`, or if the task lacks what a metric needs.
        EvaluationError: if data are missing on this machine.
        ModelError: if there is no such checkpoint.
    """
    return {name: metric_named(name, allow_code=allow_code).prepare(context) for name in names}


def with_digest(metric: Metric, spec: str) -> Metric:
    """The metric with a digest of the user's own code in its signature."""
    given, digest = metric.settings, source_digest(spec)[:8]
    if callable(given):
        return replace(metric, settings=lambda outputs, resource: {**given(outputs, resource), "code": digest})
    return replace(metric, settings={**given, "code": digest})


def _slots(outputs: SystemOutputs, resource: object) -> FloatArray:
    if not isinstance(resource, Checker):
        raise not_prepared("slot_error_rate")
    return slot_statistics(outputs.predictions, checker=resource)


def _require_checker(context: MetricContext) -> Checker:
    if context.checker is None:
        raise ConfigError(
            "metric slot_error_rate needs a checker of facts, and this task has none; set task.checker to "
            "'path/to/file.py:function', or remove slot_error_rate from task.metrics"
        )
    return context.checker


SACREBLEU = {"sacrebleu": version("sacrebleu")}
CHRF_SETTINGS = {"case": "mixed", "nc": "6", "nw": "0", "space": "no", **SACREBLEU}
ROUGE_SETTINGS = {"f": "1", "tok": "unicode-words", "stem": "porter", "rouge-score": version("rouge-score")}


def _bleu_settings(tokenize: Tokenization | None, outputs: SystemOutputs, _resource: object) -> Mapping[str, str]:
    return {"case": "mixed", "tok": tokenize or fitting(outputs.predictions), "smooth": "exp", **SACREBLEU}


def _wer_settings(outputs: SystemOutputs, _resource: object) -> Mapping[str, str]:
    return {"case": "mixed", "tok": wer_unit(outputs.predictions)}


def _distinct_settings(outputs: SystemOutputs, _resource: object) -> Mapping[str, str]:
    return {"case": "mixed", "tok": fitting(outputs.predictions), **SACREBLEU}


def _bleu(name: str, label: str, tokenize: Tokenization | None = None) -> Metric:
    statistics = on_texts(partial(bleu_statistics, tokenize=tokenize))
    return Metric(name, label, statistics, bleu, partial(_bleu_settings, tokenize))


def _rouge(name: str, label: str, *kinds: str) -> Metric:
    return Metric(name, label, on_texts(partial(rouge_statistics, kinds=kinds)), ratio, ROUGE_SETTINGS)


def _distinct(order: int) -> Metric:
    statistics = on_texts(partial(distinct_statistics, order=order))
    name, label = f"distinct_{order}", f"Distinct-{order}"
    return Metric(name, label, statistics, ratio, _distinct_settings, needs_references=False)


METRICS: Mapping[str, Metric] = {
    "bleu": _bleu("bleu", "BLEU"),
    "bleu_zh": _bleu("bleu_zh", "BLEU (zh)", "zh"),
    "bleu_char": _bleu("bleu_char", "BLEU (characters)", "char"),
    "chrf": Metric("chrf", "chrF", on_texts(chrf_statistics), chrf, CHRF_SETTINGS),
    "rouge": _rouge("rouge", "ROUGE", "rouge1", "rouge2", "rougeL"),
    "rouge1": _rouge("rouge1", "ROUGE-1", "rouge1"),
    "rouge2": _rouge("rouge2", "ROUGE-2", "rouge2"),
    "rougeL": _rouge("rougeL", "ROUGE-L", "rougeL"),
    "exact_match": Metric(
        "exact_match",
        "Exact match",
        on_texts(exact_match_statistics),
        ratio,
        {"case": "mixed", "space": "strip"},
    ),
    "wer": Metric("wer", "WER", on_texts(wer_statistics), ratio, _wer_settings, higher_is_better=False),
    "meteor": METEOR,
    "bertscore": BERTSCORE,
    "distinct_1": _distinct(1),
    "distinct_2": _distinct(2),
    "slot_error_rate": Metric(
        "slot_error_rate",
        "Slot error rate",
        _slots,
        ratio,
        prepare=_require_checker,
        higher_is_better=False,
        needs_references=False,
    ),
    "source_missing": SOURCE_MISSING,
    "source_invented": SOURCE_INVENTED,
    "nll": NLL,
}
