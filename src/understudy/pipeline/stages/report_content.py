"""Parts of the report's facts on what systems generated: source consistency, signs of a training that went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.evaluation.bootstrap import advantage, score
from understudy.evaluation.consistency import item_errors
from understudy.evaluation.diversity import repeats
from understudy.evaluation.metrics import METRICS, SystemOutputs, tally
from understudy.evaluation.source_items import has_names
from understudy.evaluation.tally import FloatArray, IntArray, Tally
from understudy.evaluation.words import words
from understudy.pipeline.stages.predictions import TOP_TOKENS
from understudy.pipeline.stages.training import TrainingFacts
from understudy.records import Prediction
from understudy.report.content_facts import ConsistencyFacts, ConsistencyScore, HealthFacts, Interval, ItemErrorFacts
from understudy.report.facts import NOT_MEASURED, REFERENCES, TEACHER
from understudy.report.formatting import system_label
from understudy.store import Stage, WorkerContext

Predictions = Mapping[str, Sequence[Prediction]]
"""System -> its predictions for test."""
CONSISTENCY = {"missing": "source_missing", "invented": "source_invented"}
"""What facts call the metrics of source consistency."""


def consistency_facts(
    predictions: Predictions, *, distilled: str, prompt: str, fields: Mapping[str, str], weights_RN: IntArray
) -> ConsistencyFacts:
    """How the outputs of all systems, and the references, agree with their sources.

    Args:
        predictions: for the same examples.
        distilled: the system that is compared with the teacher.
        prompt: the prompt without its placeholder; what it states is not invented.
        fields: for the signatures.
        weights_RN: from `resample_weights`.
    """
    systems = {**predictions, **_references(predictions)}
    tallies = {
        name: {
            key: tally(METRICS[metric], SystemOutputs(own), prompt, fields=fields)
            for key, metric in CONSISTENCY.items()
        }
        for name, own in systems.items()
    }
    leads = {key: advantage(tallies[distilled][key], tallies[TEACHER][key], weights_RN) for key in CONSISTENCY}
    return {
        "outputs": len(predictions[distilled]),
        "systems": {name: _consistency(own, weights_RN) for name, own in tallies.items()},
        "advantages": {key: {"value": one.value, "low": one.low, "high": one.high} for key, one in leads.items()},
        "worse": [key for key, one in leads.items() if one.high < 0],
        "names": all(has_names(texts) for texts in _sources_and_references(predictions[distilled])),
        "signatures": {key: own.signature for key, own in tallies[distilled].items()},
    }


def example_errors(predictions: Predictions, index: int, *, prompt: str) -> dict[str, ItemErrorFacts]:
    """System -> the items of its output for one example that disagree with the source; systems without any left out."""
    found = {name: item_errors(own[index], prompt=prompt) for name, own in predictions.items()}
    return {
        name: {"missing": list(errors.missing), "invented": list(errors.invented)}
        for name, errors in found.items()
        if errors.missing or errors.invented
    }


@dataclass(frozen=True)
class SystemStages:
    """The stages of one system that its health is read from."""

    predictions: Stage[Any]
    training: Stage[Any] | None


def health_facts(
    stages: Mapping[str, SystemStages], predictions: Predictions, context: WorkerContext
) -> dict[str, HealthFacts]:
    """System, and the references -> signs of a training that went wrong."""
    health = {name: _health(own, predictions[name], stages, context) for name, own in stages.items()}
    return {**health, **{name: _text_health(own) for name, own in _references(predictions).items()}}


def _health(
    own: SystemStages, outputs: Sequence[Prediction], stages: Mapping[str, SystemStages], context: WorkerContext
) -> HealthFacts:
    health = _text_health(outputs)
    unfinished = getattr(context.facts(own.predictions), "unfinished", None)  # an API teacher's are left out
    if unfinished is not None:
        health["unfinished"] = unfinished["test"] / len(outputs)
    facts: TrainingFacts | None = context.facts(own.training) if own.training else None
    if facts and facts.steps:
        health["steps"], health["warmup_steps"] = facts.steps, facts.warmup_steps
        health["kept_step"], health["evaluations"] = facts.best_step, len(facts.history)
        health["dev_moved"], health["trained_parameters"] = facts.dev_moved, facts.trained_parameters
    folders = [context.folder(one.predictions) for one in (own, stages[TEACHER])]
    health["top_token_agreement"] = _agreement(*(_top_tokens(folder) for folder in folders))
    return health


def _text_health(outputs: Sequence[Prediction]) -> HealthFacts:
    """What the texts alone show."""
    pairs = [(len(words(one.text)), len(words(one.references[0]))) for one in outputs if one.references]
    expected = sum(reference for _, reference in pairs)
    return {
        "steps": None,
        "warmup_steps": None,
        "kept_step": None,
        "evaluations": None,
        "dev_moved": None,
        "repetition": sum(repeats(one.text) for one in outputs) / len(outputs),
        "empty": sum(not one.text.strip() for one in outputs) / len(outputs),
        "length_ratio": sum(own for own, _ in pairs) / expected if expected else None,
        "unfinished": None,
        "top_token_agreement": {**NOT_MEASURED, "note": "references have no network"},
    }


def _top_tokens(folder: Path) -> IntArray | None:
    path = folder / TOP_TOKENS
    return np.load(path) if path.is_file() else None


def _agreement(own: IntArray | None, teacher: IntArray | None) -> Interval:
    """The share of positions with the same most probable token."""
    if own is None or teacher is None:
        note = "it needs both networks here, and a metric such as nll for which they score the references"
        return {**NOT_MEASURED, "note": note}
    if not np.array_equal(own[0], teacher[0]):
        return {**NOT_MEASURED, "note": "the two systems tokenize the references differently"}
    return {"value": float((own[1] == teacher[1]).mean()), "low": None, "high": None}


def _references(predictions: Predictions) -> dict[str, list[Prediction]]:
    """The first reference of each example as the output of a system; empty where an example has none."""
    first = next(iter(predictions.values()))
    if not all(one.references for one in first):
        return {}
    return {REFERENCES: [Prediction(one.id, one.source, one.references, one.references[0]) for one in first]}


def _sources_and_references(outputs: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    return [one.source for one in outputs], [text for one in outputs for text in one.references]


def _consistency(tallies: Mapping[str, Tally], weights_RN: IntArray) -> ConsistencyScore:
    missing, invented = (tallies[key] for key in CONSISTENCY)
    return {
        "missing": _rate(missing, weights_RN),
        "invented": _rate(invented, weights_RN),
        "outputs_with_missing": _examples_with(missing.statistics_ND),
        "outputs_with_invented": _examples_with(invented.statistics_ND),
    }


def _rate(own: Tally, weights_RN: IntArray) -> Interval:
    if not own.statistics_ND[:, 1].any():
        return {**NOT_MEASURED, "note": "there are no numbers, dates, codes or capitalised names"}
    found = score(own, weights_RN)
    return {"value": found.value, "low": found.low, "high": found.high}


def _examples_with(statistics_ND: FloatArray) -> int:
    return int((statistics_ND[:, 0] > 0).sum())


def empty_outputs(predictions: Mapping[str, Sequence[Prediction]]) -> list[str]:
    """A sentence for each system with empty outputs."""
    counts = {name: sum(not one.text.strip() for one in own) for name, own in predictions.items()}
    return [
        f"{system_label(name)}: {count} of {len(predictions[name])} outputs are empty."
        for name, count in counts.items()
        if count
    ]
