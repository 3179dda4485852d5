"""The metrics by name, and the one way from predictions to a tally.

The mathematics stands in `overlap`, `edits`, `meteor`, `bertscore`, `diversity` and `slots`. A prediction is scored
even if it is empty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from types import MappingProxyType

from understudy.errors import EvaluationError, unknown_name
from understudy.evaluation.bertscore import Encoder, bertscore_rows
from understudy.evaluation.diversity import distinct_rows
from understudy.evaluation.edits import wer_rows
from understudy.evaluation.meteor import meteor_rows
from understudy.evaluation.overlap import bleu, bleu_rows, chrf, chrf_rows, rouge_rows
from understudy.evaluation.slots import Checker, slot_rows
from understudy.evaluation.tally import FloatArray, Formula, Tally, ratio
from understudy.records import Prediction

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric is a function from predictions to rows and a formula on the sum of the rows."""

    rows: Callable[..., FloatArray]
    formula: Formula
    settings: Mapping[str, str]
    """What its signature says beside the counts: whatever changes the value."""
    higher_is_better: bool = True
    needs_references: bool = True
    needs_checker: bool = False
    needs_encoder: bool = False


SACREBLEU = {"sacrebleu": version("sacrebleu")}
BLEU_SETTINGS = {"case": "mixed", "tok": "13a", "smooth": "exp", **SACREBLEU}
CHRF_SETTINGS = {"case": "mixed", "nc": "6", "nw": "0", "space": "no", **SACREBLEU}
ROUGE_SETTINGS = {"f": "1", "stem": "porter", "rouge-score": version("rouge-score")}
WER_SETTINGS = {"case": "mixed", "tok": "none"}
METEOR_SETTINGS = {
    "case": "lower", "tok": "13a", "alpha": "0.9", "beta": "3", "gamma": "0.5", "stem": "porter", "wordnet": "3.0",
    "nltk": version("nltk"), **SACREBLEU,
}  # fmt: skip
BERTSCORE_SETTINGS = {"f": "1", "idf": "no", "rescaled": "no"}
DISTINCT_SETTINGS = {"case": "mixed", "tok": "13a", **SACREBLEU}

METRICS: Mapping[str, Metric] = {
    "bleu": Metric(bleu_rows, bleu, BLEU_SETTINGS),
    "chrf": Metric(chrf_rows, chrf, CHRF_SETTINGS),
    "rouge": Metric(partial(rouge_rows, kinds=("rouge1", "rouge2", "rougeL")), ratio, ROUGE_SETTINGS),
    "rouge1": Metric(partial(rouge_rows, kinds=("rouge1",)), ratio, ROUGE_SETTINGS),
    "rouge2": Metric(partial(rouge_rows, kinds=("rouge2",)), ratio, ROUGE_SETTINGS),
    "rougeL": Metric(partial(rouge_rows, kinds=("rougeL",)), ratio, ROUGE_SETTINGS),
    "wer": Metric(wer_rows, ratio, WER_SETTINGS, higher_is_better=False),
    "meteor": Metric(meteor_rows, ratio, METEOR_SETTINGS),
    "bertscore": Metric(bertscore_rows, ratio, BERTSCORE_SETTINGS, needs_encoder=True),
    "distinct_1": Metric(partial(distinct_rows, order=1), ratio, DISTINCT_SETTINGS, needs_references=False),
    "distinct_2": Metric(partial(distinct_rows, order=2), ratio, DISTINCT_SETTINGS, needs_references=False),
    "slot_error_rate": Metric(slot_rows, ratio, {}, higher_is_better=False, needs_references=False, needs_checker=True),
}


def tally(
    name: str,
    predictions: Sequence[Prediction],
    *,
    checker: Checker | None = None,
    encoder: Encoder | None = None,
    fields: Mapping[str, str] = NOTHING,
) -> Tally:
    """One system's predictions under one metric; all scores in percent.

    Args:
        name: a key of `METRICS`.
        predictions: of one system; empty texts are scored like any other.
        checker: the task's function from source and text to slot errors, for `slot_error_rate`.
        encoder: makes the vectors, for `bertscore`.
        fields: what the caller knows and the signature should say: data hash, split, decoding.

    Raises:
        ConfigError: if the metric is unknown.
        EvaluationError: if there are no predictions, or none of what the metric needs beside them.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    metric = METRICS[name]
    if not predictions:
        raise EvaluationError(f"{name} was asked for no predictions at all; give it at least one")
    if metric.needs_references:
        _require_references(name, predictions)
    if metric.needs_checker and checker is None:
        raise EvaluationError(f"{name} needs the task's checker of facts and this task has none; leave the metric out")
    if metric.needs_encoder and encoder is None:
        raise EvaluationError(
            f"{name} needs an encoder and got none; set task.bertscore.model, or leave the metric out"
        )
    needed = {"checker": checker} if metric.needs_checker else {"encoder": encoder} if metric.needs_encoder else {}
    settings = {**metric.settings, **(encoder.settings if encoder and metric.needs_encoder else {})}
    return Tally(
        metric=name,
        ids=tuple(prediction.id for prediction in predictions),
        rows_ND=metric.rows(predictions, **needed),
        formula=metric.formula,
        signature=_signature(name, {**fields, **_counts(predictions, references=metric.needs_references), **settings}),
        higher_is_better=metric.higher_is_better,
    )


def likelihood_tally(
    predictions: Sequence[Prediction], rows_ND: FloatArray, *, fields: Mapping[str, str] = NOTHING
) -> Tally:
    """The mean negative log-likelihood of gold in nats per token, so that long targets weigh more; lower is better.

    Args:
        predictions: of the examples whose gold it is.
        rows_ND: nats and tokens of each example, its references together, (N, 2).
        fields: as in `tally`.
    """
    said = {"tokens": str(int(rows_ND[:, 1].sum())), "unit": "nats/token"}
    return Tally(
        metric="nll",
        ids=tuple(prediction.id for prediction in predictions),
        rows_ND=rows_ND,
        units_N=rows_ND[:, 1],
        formula=ratio,
        signature=_signature("nll", {**fields, **_counts(predictions, references=True), **said}),
        higher_is_better=False,
    )


def _require_references(name: str, predictions: Sequence[Prediction]) -> None:
    without = [prediction.id for prediction in predictions if not prediction.references]
    if without:
        raise EvaluationError(
            f"{name} compares with references, and {len(without)} of {len(predictions)} predictions have none "
            f"(first: {without[0]!r}); give their examples targets, or choose a metric that reads none"
        )


def _counts(predictions: Sequence[Prediction], *, references: bool) -> dict[str, str]:
    counts = {"n": str(len(predictions))}
    if references:
        owned = [len(prediction.references) for prediction in predictions]
        few, many = min(owned), max(owned)
        counts["refs"] = str(few) if few == many else f"{few}-{many}"
    return counts


def _signature(name: str, said: Mapping[str, str]) -> str:
    return "|".join([name, *(f"{key}:{value}" for key, value in {**said, "understudy": version("understudy")}.items())])
