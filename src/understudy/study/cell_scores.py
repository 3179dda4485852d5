"""The stage of one cell's scores: values, shares of the gap, and the scores of every resample.

The scores are a stage of their own, so that the results table can be written often without scoring a text twice.
Axes: N examples, M metrics, K systems (teacher, fine-tuned, distilled), R resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from understudy.config.study import Cell
from understudy.evaluation.bootstrap import gap_closed, resample_weights
from understudy.evaluation.metrics import result_name
from understudy.evaluation.tally import FloatArray, IntArray, Tally
from understudy.pipeline.stages.data import DataStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.pipeline.stages.scores import ScoringSettings, tallies_of
from understudy.pipeline.systems import System
from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, TEACHER
from understudy.report.table_facts import CellFacts
from understudy.store import Stage, WorkerContext

DISTILLED = "distilled"
SYSTEMS = (TEACHER, FINE_TUNED, DISTILLED)

MetricTallies = Mapping[str, Mapping[str, Tally]]
"""Metric -> system -> its tally."""


@dataclass(frozen=True)
class GapFact:
    """A share of the gap with its interval."""

    value: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class CellSplitScores:
    """The scores on one split."""

    scores: dict[str, dict[str, float]]
    """System -> metric -> value."""
    gap_closed: dict[str, GapFact]
    """Metric -> share."""


@dataclass(frozen=True)
class CellScoresFacts:
    """The scores of a cell."""

    splits: dict[str, CellSplitScores]
    higher_is_better: tuple[tuple[str, bool], ...]
    """Metrics in the order of the saved resamples."""


@dataclass(frozen=True)
class CellScoresStage(Stage[CellScoresFacts]):
    """The scores of a cell's three systems; those of each resample are saved as (M, K, R) arrays, one per split."""

    systems: tuple[System, System, System]
    """Teacher, fine-tuned student, distilled student."""
    scoring: ScoringSettings
    data: DataStage
    name: ClassVar[str] = "cell_scores"

    def run(self, folder: Path, context: WorkerContext) -> CellScoresFacts:
        """Scores the systems with every metric that can score all three."""
        context.progress.log("compute scores and their resamples")
        splits, better = {}, dict[str, bool]()
        for split in SCORED_SPLITS:
            own = tallies_of(self.systems, self.scoring, self.data, split, context)
            by_system = dict(zip(SYSTEMS, (own[system.name] for system in self.systems), strict=True))
            tallies: MetricTallies = {
                metric: {name: of[metric] for name, of in by_system.items()}
                for metric in self.scoring.metrics
                if all(metric in of for of in by_system.values())
            }
            examples = len(tallies[self.scoring.primary_metric][TEACHER].ids)
            weights_RN = resample_weights(examples, resamples=self.scoring.resamples, seed=self.scoring.seed)
            scores_MKR = np.stack([[one.scores(weights_RN) for one in of.values()] for of in tallies.values()])
            np.save(folder / f"{split}.npy", scores_MKR)
            splits[split] = _split_scores(tallies, weights_RN)
            better = {metric: of[TEACHER].higher_is_better for metric, of in tallies.items()}
        return CellScoresFacts(splits, tuple(better.items()))


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished cell."""

    facts: CellFacts
    scores: Mapping[str, FloatArray]
    """Split -> the score of each resample, (M, K, R); metrics in the order of `higher_is_better`."""
    higher_is_better: Mapping[str, bool]
    primary_metric: str


def read_cell(folder: Path, facts: CellScoresFacts, cell: Cell, *, seconds: float) -> Measured:
    """A finished cell from the folder of its scores; `seconds` is what its student and its predictions took."""
    plain = {
        "paper_stage": cell.row.group,
        "method": cell.row.name,
        "task": cell.task,
        "seed": cell.seed,
        "scores": {split: own.scores[DISTILLED] for split, own in facts.splits.items()},
        "gap_closed": {
            split: {metric: _interval(gap) for metric, gap in own.gap_closed.items()}
            for split, own in facts.splits.items()
        },
        "comparison_scores": {
            system: {split: own.scores[system] for split, own in facts.splits.items()}
            for system in (TEACHER, FINE_TUNED)
        },
        "seconds": seconds,
    }
    return Measured(
        facts=cast(CellFacts, plain),
        scores={split: np.load(folder / f"{split}.npy") for split in SCORED_SPLITS},
        higher_is_better=dict(facts.higher_is_better),
        primary_metric=result_name(cell.recipe.task.primary_metric),
    )


def _split_scores(tallies: MetricTallies, weights_RN: IntArray) -> CellSplitScores:
    return CellSplitScores(
        {system: {metric: of[system].value() for metric, of in tallies.items()} for system in SYSTEMS},
        {metric: _gap(of, weights_RN) for metric, of in tallies.items()},
    )


def _gap(of: Mapping[str, Tally], weights_RN: IntArray) -> GapFact:
    gap = gap_closed(of[TEACHER], fine_tuned=of[FINE_TUNED], distilled=of[DISTILLED], weights_RN=weights_RN)
    return GapFact(gap.value, gap.low, gap.high, gap.note or "")


def _interval(gap: GapFact) -> Interval:
    fact: Interval = {"value": gap.value, "low": gap.low, "high": gap.high}
    return {**fact, "note": gap.note} if gap.note else fact
