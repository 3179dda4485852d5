"""The stage of the report's facts: scores with intervals, the share of the gap closed, examples, the pool, costs.

What names a run (its recipe, the time of each stage) is added when the run is delivered.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from understudy.evaluation.bootstrap import advantage, gap_closed, resample_weights, same_units, score
from understudy.evaluation.metrics import METRICS, can_score, tally
from understudy.evaluation.tally import IntArray, Tally
from understudy.pipeline.metric_settings import MetricSettings, load_metrics
from understudy.pipeline.model_sources import TokenizerSource, checkpoint_path
from understudy.pipeline.stages.benchmark import BenchmarkStage
from understudy.pipeline.stages.data import DataStage, read_data
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.layer_order import LayerOrderStage
from understudy.pipeline.stages.not_learned import reasons_not_learned, teacher_problems
from understudy.pipeline.stages.predictions import SCORED_SPLITS, load_predictions
from understudy.pipeline.stages.report_content import SystemStages, consistency_facts, empty_outputs, health_facts
from understudy.pipeline.stages.report_examples import EXAMPLE_METRIC, SHOWN, shown_examples
from understudy.pipeline.stages.report_parts import (
    ApiReport,
    curve_points,
    pool_facts,
    reasoning_facts,
    removed_layers,
    token_map_facts,
    trimmed_vocabularies,
)
from understudy.pipeline.stages.vocabulary import VocabularyStage
from understudy.pipeline.systems import System
from understudy.records import Efficiency
from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, TEACHER, Facts, SystemFacts
from understudy.report.formatting import system_label
from understudy.store import Stage, WorkerContext
from understudy.store.disk import write_text

FACTS = "facts.json"
FEW = 30
"""Test examples below which intervals are too narrow."""

Tallies = Mapping[str, Mapping[str, Tally]]
"""System -> metric -> its tally on one split."""


@dataclass(frozen=True)
class ScoresFacts:
    """Content of the report's headline."""

    primary_metric: str
    gap_closed: float | None


@dataclass(frozen=True)
class ScoringSettings:
    """How systems are scored."""

    metrics: tuple[str, ...]
    """What results call them; `settings` names the code of those that are the user's own."""
    primary_metric: str
    settings: MetricSettings
    resamples: int
    seed: int
    task: str
    """The task's name in signatures."""


@dataclass(frozen=True)
class ScoresStage(Stage[ScoresFacts]):
    """The facts of the report, from what the systems generated."""

    systems: tuple[System, ...]
    distilled: str
    """The name of the distilled system."""
    trainings: tuple[tuple[str, Stage[Any]], ...]
    """System -> the stage that it was trained in."""
    scoring: ScoringSettings
    data: DataStage
    examples: ExamplesStage
    benchmark: BenchmarkStage
    student: Stage[Any]
    """The distilled student's own stage, which may hold its samples."""
    pool: Stage[Any] | None
    pool_tokens: TokenizerSource | None
    """Whose token ids the pool has; a token id ends a finished text."""
    api: ApiReport | None
    averaged: bool
    """Whether the student is the mean of its last weights."""
    allows_leaks: bool
    references_by_teacher: bool
    """Whether test is compared with texts of the teacher."""
    prompt: str
    """The prompt without its placeholder: what it states is not invented by an output."""
    layer_order: LayerOrderStage | None = None
    """Of a student whose layers were chosen by loss."""
    vocabularies: tuple[tuple[str, VocabularyStage], ...] | None = None
    """System -> the stage of its trimmed tokenizer; None where none is trimmed."""
    name: ClassVar[str] = "scores"
    version: ClassVar[int] = 3

    def run(self, folder: Path, context: WorkerContext) -> ScoresFacts:
        """Scores all systems and writes the facts."""
        context.progress.log("compute scores and their intervals")
        facts = self._facts(context)
        # Not sorted: the order of systems and metrics is that of the report.
        write_text(folder / FACTS, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        primary = self.scoring.primary_metric
        closed = facts["gap_closed"]
        return ScoresFacts(primary, closed[primary]["value"] if primary in closed else None)

    def _facts(self, context: WorkerContext) -> Facts:
        scoring = self.scoring
        tallies = {split: tallies_of(self.systems, scoring, self.data, split, context) for split in SCORED_SPLITS}
        test, names = tallies["test"], [system.name for system in self.systems]
        has_baseline = FINE_TUNED in names
        examples = len(test[self.distilled][scoring.primary_metric].ids)
        weights_RN = resample_weights(examples, resamples=scoring.resamples, seed=scoring.seed)
        benchmark = context.facts(self.benchmark)
        costs = benchmark.costs
        labels = metric_labels(scoring, context)
        facts: Facts = {
            "task": scoring.task,
            "primary_metric": scoring.primary_metric,
            "systems": [_system(name, test[name], labels, weights_RN, costs.get(name)) for name in names],
            "gap_closed": {
                metric: _gap(test, metric, self.distilled, weights_RN)
                for metric in scoring.metrics
                if has_baseline and metric in test[TEACHER]
            },
            "method": self.distilled,
            "run": scoring.task,
            "seed": scoring.seed,
            "split": "test",
            "differences": {
                metric: _lead(test, metric, self.distilled, FINE_TUNED, weights_RN)
                for metric in scoring.metrics
                if has_baseline
            },
            "teacher_differences": {
                metric: _lead(test, metric, self.distilled, TEACHER, weights_RN)
                for metric in scoring.metrics
                if metric in test[TEACHER] and same_units(test[TEACHER][metric], test[self.distilled][metric])
            },
            "dev": {name: {m: own.value() for m, own in of.items()} for name, of in tallies["dev"].items()},
            "benchmark_conditions": costs[self.distilled].how,
            "machine": benchmark.machine,
            "date": datetime.now(UTC).date().isoformat(),
            "notes": self._notes(examples, context),
        }
        self._add_parts(facts, weights_RN, context)
        return facts

    def _add_parts(self, facts: Facts, weights_RN: IntArray, context: WorkerContext) -> None:
        """Adds what comes from single stages: curves, the pool, examples, an API teacher's responses."""
        predictions = {own.name: load_predictions(own.predictions, context, "test").predictions for own in self.systems}
        metric = self.scoring.primary_metric
        facts["curves"] = {name: curve_points(context.facts(stage), metric) for name, stage in self.trainings}
        facts["pool"] = pool_facts(
            context.folder(self.pool) if self.pool else None,
            context.folder(self.student),
            read_data(context.folder(self.examples)),
            tokens=checkpoint_path(self.pool_tokens.tokens, context) if self.pool_tokens else None,
            shown=SHOWN,
            seed=self.scoring.seed,
        ) | reasoning_facts(self.pool, context)
        facts["examples"] = shown_examples(predictions, self.distilled, prompt=self.prompt, seed=self.scoring.seed)
        facts["example_metric"], facts["example_metric_label"] = EXAMPLE_METRIC, METRICS[EXAMPLE_METRIC].label
        facts["consistency"] = consistency_facts(
            predictions,
            distilled=self.distilled,
            prompt=self.prompt,
            fields={"task": self.scoring.task, "data": self.data.key[:8], "split": "test"},
            weights_RN=weights_RN,
        )
        stages = {own.name: SystemStages(own.predictions, own.network) for own in self.systems}
        # Whether the student learned is a question to its distillation, not to a final fine-tuning.
        stages[self.distilled] = replace(stages[self.distilled], training=self.student)
        facts["health"] = health_facts(stages, predictions, context)
        facts["not_learned"] = reasons_not_learned(facts)
        facts["warnings"] = empty_outputs(predictions)
        if teacher := teacher_problems(facts):
            facts["warnings"].append(f"The teacher has not learned: {'; '.join(teacher)}.")
        facts["data"] = {name: int(split["inputs"]) for name, split in context.facts(self.data).splits.items()}
        if self.references_by_teacher:
            facts["references_by_teacher"] = True
        if self.vocabularies:
            facts["vocabularies"] = trimmed_vocabularies(self.vocabularies, context)
        if token_map := token_map_facts(getattr(self.student, "logprobs", ()), context):
            facts["token_map"] = token_map
        if self.api:
            facts["api_responses"] = self.api.facts(context)
        if self.layer_order:
            facts["layer_order"] = removed_layers(context.facts(self.layer_order))

    def _notes(self, examples: int, context: WorkerContext) -> list[str]:
        """Limitations of the results, for the report."""
        notes = []
        if examples < FEW:
            notes.append(f"Test has {examples} examples: a bootstrap over so few gives too narrow intervals.")
        if self.averaged:
            notes.append(
                f"{system_label(self.distilled)} is the mean of its last weights: only the last point of its curve "
                "scores that mean."
            )
        for name, stage in self.trainings:
            facts = context.facts(stage)
            if facts.still_improving:
                notes.append(
                    f"{system_label(name)}: the best dev score was the last one; training may still improve it."
                )
            if facts.targets_per_source:
                notes.append(f"{system_label(name)}: {facts.targets_per_source}.")
            if not facts.dev_moved:
                notes.append(
                    f"{system_label(name)}: the dev score never moved in {len(facts.history)} evaluations, so it did "
                    f"not choose the weights; kept are those of step {facts.best_step}."
                )
        if self.references_by_teacher:
            notes.append(
                "The teacher wrote the references of the test split. Its own row is the score of a second response: "
                "the agreement of the teacher with itself. No score measures the quality of the references."
            )
        if self.allows_leaks:
            notes.append("Inputs of dev or test may be in the training data: the recipe allows leaks.")
        return notes


def tallies_of(
    systems: Sequence[System], scoring: ScoringSettings, data: DataStage, split: str, context: WorkerContext
) -> dict[str, dict[str, Tally]]:
    """System -> metric -> its tally on a split, for the metrics that can score it."""
    tallies: dict[str, dict[str, Tally]] = {}
    metrics = load_metrics(scoring.metrics, scoring.settings, allow_code=context.allow_code)
    for system in systems:
        outputs = load_predictions(system.predictions, context, split)
        fields = {"task": scoring.task, "data": data.key[:8], "decoding": system.decoding, "split": split}
        tallies[system.name] = {
            name: tally(metric, outputs, resource, fields=fields)
            for name, (metric, resource) in metrics.items()
            if can_score(metric, outputs)
        }
    return tallies


def _system(
    name: str, tallies: Mapping[str, Tally], labels: Mapping[str, str], weights_RN: IntArray, cost: Efficiency | None
) -> SystemFacts:
    scores = {metric: score(own, weights_RN) for metric, own in tallies.items()}
    return {
        "name": name,
        "parameters": cost.parameters if cost else None,
        "disk_bytes": cost.disk_bytes if cost else None,
        "scores": {
            metric: {
                "value": own.value,
                "low": own.low,
                "high": own.high,
                "signature": own.signature,
                "label": labels[metric],
                "higher_is_better": own.higher_is_better,
            }
            for metric, own in scores.items()
        },
        "latency_ms": {"p50": cost.latency_p50_ms if cost else None, "p95": cost.latency_p95_ms if cost else None},
        "throughput_per_s": cost.throughput_per_s if cost else None,
        "peak_memory_bytes": cost.peak_memory_bytes if cost else None,
    }


def metric_labels(scoring: ScoringSettings, context: WorkerContext) -> dict[str, str]:
    """Metric -> what tables call it."""
    metrics = load_metrics(scoring.metrics, scoring.settings, allow_code=context.allow_code)
    return {name: metric.label for name, (metric, _) in metrics.items()}


def _gap(test: Tallies, metric: str, distilled: str, weights_RN: IntArray) -> Interval:
    gap = gap_closed(
        test[TEACHER][metric],
        fine_tuned=test[FINE_TUNED][metric],
        distilled=test[distilled][metric],
        weights_RN=weights_RN,
    )
    fact: Interval = {"value": gap.value, "low": gap.low, "high": gap.high}
    if gap.note:
        fact["note"] = gap.note
    return fact


def _lead(test: Tallies, metric: str, distilled: str, other: str, weights_RN: IntArray) -> Interval:
    lead = advantage(test[distilled][metric], test[other][metric], weights_RN)
    return {"value": lead.value, "low": lead.low, "high": lead.high}
