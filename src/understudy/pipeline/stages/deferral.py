"""The stage of the student's calibrated confidence, and of the score of a system that defers to the teacher."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from understudy.evaluation.bootstrap import resample_weights
from understudy.evaluation.calibration import (
    Calibration,
    ReliabilityBin,
    calibration_error,
    fit_calibration,
    ranking,
    reliability,
)
from understudy.evaluation.deferral import deferral_curve, not_worse, thresholds
from understudy.evaluation.tally import Tally
from understudy.pipeline.metric_settings import load_metrics
from understudy.pipeline.stages.confidences import ConfidencesStage, read_confidences
from understudy.pipeline.stages.data import DataStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.pipeline.stages.scores import FACTS, FEW, ScoringSettings, metric_labels, tallies_of
from understudy.pipeline.systems import System
from understudy.report.confidence_facts import ConfidenceFacts, DeferralFacts, ReliabilityFacts
from understudy.store import Stage, WorkerContext
from understudy.store.disk import write_text


@dataclass(frozen=True)
class DeferralStageFacts:
    """What was fitted; None where no metric scores the texts of both systems."""

    metric: str | None
    temperature: float | None
    offset: float | None
    error_before: float | None
    error_after: float | None


@dataclass(frozen=True)
class _Split:
    """One split with the texts of both systems."""

    student: Tally
    teacher: Tally
    confidences: list[float]

    @property
    def events(self) -> list[bool]:
        return not_worse(self.student, self.teacher)


@dataclass(frozen=True)
class DeferralStage(Stage[DeferralStageFacts]):
    """Calibration and thresholds are chosen on dev, and shown on test with the same thresholds."""

    teacher: System
    student: System
    """Both without networks: their predictions are read."""
    confidences: ConfidencesStage
    scoring: ScoringSettings
    data: DataStage
    name: ClassVar[str] = "deferral"

    def run(self, folder: Path, context: WorkerContext) -> DeferralStageFacts:
        """Fits, scores and writes the facts of the report; an object without keys if there are none."""
        metric = self._metric(context)
        facts = self._facts(metric, context) if metric else None
        write_text(folder / FACTS, json.dumps(facts or {}, ensure_ascii=False, indent=1) + "\n")
        if facts is None:
            return DeferralStageFacts(None, None, None, None, None)
        return DeferralStageFacts(
            metric, facts["temperature"], facts["offset"], facts["error_before"], facts["error_after"]
        )

    def _metric(self, context: WorkerContext) -> str | None:
        """The primary metric; where it scores no texts, the first of the task that does."""
        scoring = self.scoring
        for name in dict.fromkeys((scoring.primary_metric, *scoring.metrics)):
            metric, _ = load_metrics((name,), scoring.settings, allow_code=context.allow_code)[name]
            if metric.needs_texts and not metric.needs_likelihood:
                return name
        return None

    def _facts(self, metric: str, context: WorkerContext) -> ConfidenceFacts:
        scoring = replace(self.scoring, metrics=(metric,))
        dev, test = (self._split(metric, scoring, split, context) for split in SCORED_SPLITS)
        calibration = fit_calibration(dev.confidences, dev.events)
        before = reliability(test.confidences, test.events)
        after = reliability(_probabilities(calibration, test), test.events)
        at = thresholds(_probabilities(calibration, dev))
        return {
            "system": self.student.name,
            "metric": metric,
            "label": metric_labels(scoring, context)[metric],
            "higher_is_better": test.student.higher_is_better,
            "signature": test.student.signature,
            "temperature": calibration.temperature,
            "offset": calibration.offset,
            "not_worse": sum(test.events) / len(test.events),
            "ranking": ranking(test.confidences, test.events),
            "error_before": calibration_error(before),
            "error_after": calibration_error(after),
            "reliability_before": _bins(before),
            "reliability": _bins(after),
            "dev": self._curve(calibration, dev, at),
            "test": self._curve(calibration, test, at),
            "notes": self._notes(dev, context),
        }

    def _split(self, metric: str, scoring: ScoringSettings, split: str, context: WorkerContext) -> _Split:
        systems = (self.teacher, self.student)
        tallies = tallies_of(systems, scoring, self.data, split, context)
        rows = read_confidences(context.folder(self.confidences), split)
        teacher, student = (tallies[system.name][metric] for system in systems)
        return _Split(student, teacher, [row.confidence for row in rows])

    def _curve(self, calibration: Calibration, split: _Split, at: Sequence[float]) -> list[DeferralFacts]:
        weights_RN = resample_weights(len(split.confidences), resamples=self.scoring.resamples, seed=self.scoring.seed)
        probabilities = _probabilities(calibration, split)
        curve = deferral_curve(split.student, split.teacher, probabilities, at, weights_RN)
        return [
            {
                "threshold": point.threshold,
                "deferred": point.deferred,
                "score": point.score,
                "low": point.low,
                "high": point.high,
                "quality": point.quality,
                "random": point.random,
                "gain": point.gain,
                "gain_low": point.gain_low,
                "gain_high": point.gain_high,
            }
            for point in curve
        ]

    def _notes(self, dev: _Split, context: WorkerContext) -> list[str]:
        notes = []
        if len(dev.confidences) < FEW:
            notes.append(f"Dev has {len(dev.confidences)} examples, too few to calibrate on.")
        if differing := sum(context.facts(self.confidences).differing.values()):
            notes.append(f"{differing} texts were generated otherwise than when they were scored, by rounding.")
        return notes


def _probabilities(calibration: Calibration, split: _Split) -> list[float]:
    return [calibration.probability(one) for one in split.confidences]


def _bins(bins: Sequence[ReliabilityBin]) -> list[ReliabilityFacts]:
    return [{"probability": one.probability, "share": one.share, "count": one.count} for one in bins]
