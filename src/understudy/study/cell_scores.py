"""The row of one cell: scores, shares of the gap, and the scores of every resample.

A stage of the store, so that a results_table is drawn again and again without scoring a text twice.
Axes: N examples, M metrics, K systems (teacher, fine-tuned, distilled), R resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from understudy.config.study import Cell
from understudy.evaluation.bootstrap import gap_closed, resample_weights
from understudy.evaluation.tally import FloatArray, IntArray, Tally
from understudy.pipeline.bench import Bench
from understudy.pipeline.learned import Learned
from understudy.pipeline.measure import SCORED, can_tell, tally_of
from understudy.report.facts import FINE_TUNED, TEACHER, Interval
from understudy.report.table_facts import CellFacts
from understudy.store import Finished

DISTILLED = "distilled"
SYSTEMS = (TEACHER, FINE_TUNED, DISTILLED)

Tallies = Mapping[str, Mapping[str, Tally]]
"""Metric -> system -> its tally."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished cell."""

    facts: CellFacts
    scores: Mapping[str, FloatArray]
    """Split -> the score of each resample, (M, K, R); metrics in the order of `higher_is_better`."""
    higher_is_better: Mapping[str, bool]
    primary_metric: str


def make_row(bench: Bench, learned: Learned) -> Finished:
    """The stage of a cell's row."""
    recipe = bench.recipe
    names = (TEACHER, FINE_TUNED, recipe.distil.method)
    answers = {system: learned.answers[name] for system, name in zip(SYSTEMS, names, strict=True)}

    def work(folder: Path) -> Mapping[str, object]:
        bench.progress.log("scores and their resamples")
        splits, better = {}, {}
        for split in SCORED:
            tallies: Tallies = {
                metric: {name: tally_of(own, metric, split, recipe.task, {}) for name, own in answers.items()}
                for metric in recipe.task.metrics
                if all(can_tell(own, metric, split) for own in answers.values())
            }
            examples = len(tallies[recipe.task.primary_metric][TEACHER].ids)
            weights_RN = resample_weights(examples, resamples=recipe.evaluation.resamples, seed=recipe.seed)
            scores_MKR = np.stack([[own.scores(weights_RN) for own in of.values()] for of in tallies.values()])
            np.save(folder / f"{split}.npy", scores_MKR)
            splits[split] = _split_facts(tallies, weights_RN)
            better = {metric: of[TEACHER].higher_is_better for metric, of in tallies.items()}
        return {"splits": splits, "higher_is_better": list(better.items())}

    settings: dict[str, object] = {
        "metrics": recipe.task.metrics,
        "resamples": recipe.evaluation.resamples,
        "seed": recipe.seed,
    }
    if recipe.task.bertscore:
        settings["bertscore"] = recipe.task.bertscore.model_dump()
    return bench.store.stage("row", settings=settings, inputs=answers, work=work)


def read_row(row: Finished, cell: Cell, *, seconds: float) -> Measured:
    """A finished cell from the stage of its row; `seconds` is what its student and its answers took."""
    splits = cast(Mapping[str, Mapping[str, Mapping[str, object]]], row.manifest.facts["splits"])
    facts = {
        "stage": cell.row.group,
        "method": cell.row.name,
        "task": cell.task,
        "seed": cell.seed,
        "scores": {split: own["scores"][DISTILLED] for split, own in splits.items()},
        "gap_closed": {split: own["gap_closed"] for split, own in splits.items()},
        "references": {
            system: {split: own["scores"][system] for split, own in splits.items()} for system in (TEACHER, FINE_TUNED)
        },
        "seconds": seconds,
    }
    return Measured(
        facts=cast(CellFacts, facts),
        scores={split: np.load(row.folder / f"{split}.npy") for split in SCORED},
        higher_is_better=dict(cast(list[tuple[str, bool]], row.manifest.facts["higher_is_better"])),
        primary_metric=cell.recipe.task.primary_metric,
    )


def _split_facts(tallies: Tallies, weights_RN: IntArray) -> dict[str, object]:
    return {
        "scores": {system: {metric: of[system].value() for metric, of in tallies.items()} for system in SYSTEMS},
        "gap_closed": {metric: _gap(of, weights_RN) for metric, of in tallies.items()},
    }


def _gap(of: Mapping[str, Tally], weights_RN: IntArray) -> Interval:
    gap = gap_closed(of[TEACHER], fine_tuned=of[FINE_TUNED], distilled=of[DISTILLED], weights_RN=weights_RN)
    fact: Interval = {"value": gap.value, "low": gap.low, "high": gap.high}
    return {**fact, "note": gap.note} if gap.note else fact
