"""The stage of a cell's scores against a hand computation with another library."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from understudy.config.study import Cell, cells_of, check_study
from understudy.evaluation.bootstrap import TAIL, resample_weights
from understudy.evaluation.predictions import write_predictions
from understudy.executors.local import Local
from understudy.pipeline.metric_settings import metric_settings
from understudy.pipeline.prepare import data_stage
from understudy.pipeline.stages.scores import ScoringSettings
from understudy.pipeline.systems import System
from understudy.progress import NoProgress
from understudy.records import Prediction
from understudy.store import Stage, Store, WorkerContext
from understudy.study.cell_scores import CellScoresStage, Measured, read_cell

REFERENCES = [f"rain and wind {word} by night" for word in ("early", "late", "cold", "slowly", "gone", "heavy")]
TEXTS = {
    "teacher": tuple(REFERENCES),
    "fine_tuned": ("rain by day", "wind late", "cold", "slowly", "it is gone", "a heavy day"),
    "logits_kd": (*REFERENCES[:2], "rain and wind", "slowly by night", "wind gone by night", "heavy rain"),
}


@dataclass(frozen=True)
class KnownFacts:
    """The number of texts."""

    texts: int


@dataclass(frozen=True)
class KnownPredictions(Stage[KnownFacts]):
    """Predictions that are known beforehand, the same for dev and test."""

    texts: tuple[str, ...]
    name: ClassVar[str] = "predictions"

    def run(self, folder: Path, context: WorkerContext) -> KnownFacts:
        """Writes them."""
        predictions = [
            Prediction(str(index), "some", (reference,), text)
            for index, (reference, text) in enumerate(zip(REFERENCES, self.texts, strict=True))
        ]
        for split in ("dev", "test"):
            write_predictions(folder / f"{split}.jsonl", predictions)
        return KnownFacts(len(predictions))


@pytest.fixture
def cell(raw: dict[str, Any]) -> Cell:
    """The study's first cell, its task scored by chrF and diversity."""
    return cell_of(raw)


@pytest.fixture
def measured(cell: Cell, tmp_path: Path) -> Measured:
    """The finished cell whose predictions are known."""
    store, stage = Store(tmp_path), stage_of(cell)
    context = WorkerContext(store, NoProgress())
    facts = store.get(stage, Local(), context)
    return read_cell(context.folder(stage), facts, cell, seconds=2.5)


def cell_of(raw: dict[str, Any], **task: object) -> Cell:
    """The study's first cell with other settings in its task."""
    raw["base"]["task"] |= {"metrics": ["chrf", "distinct_2"], "primary_metric": "chrf", **task}
    return next(cells_of(check_study(raw, folder=Path())))


def stage_of(cell: Cell) -> CellScoresStage:
    """The stage of its scores."""
    recipe, task = cell.recipe, cell.recipe.task
    teacher, fine_tuned, distilled = (System(name, KnownPredictions(own), "greedy") for name, own in TEXTS.items())
    scoring = ScoringSettings(
        task.metrics,
        task.primary_metric,
        metric_settings(task, task.metrics),
        recipe.evaluation.resamples,
        recipe.seed,
        recipe.name,
    )
    return CellScoresStage((teacher, fine_tuned, distilled), scoring, data_stage(recipe))


def chrf(name: str, weights: Sequence[int]) -> float:
    """The score of a resample, by repeating each example as often as it was drawn."""
    texts = [text for text, times in zip(TEXTS[name], weights, strict=True) for _ in range(times)]
    references = [text for text, times in zip(REFERENCES, weights, strict=True) for _ in range(times)]
    return float(CHRF().corpus_score(texts, [references]).score)


def test_scores_and_shares_equal_a_hand_computation(measured: Measured) -> None:
    """Scores and share by another library; the interval by a loop over its scores of every resample."""
    once = [1] * len(REFERENCES)
    teacher, fine_tuned, distilled = (chrf(name, once) for name in TEXTS)
    weights = resample_weights(len(REFERENCES), resamples=20, seed=13).tolist()
    shares = [
        (chrf("logits_kd", drawn) - chrf("fine_tuned", drawn)) / (chrf("teacher", drawn) - chrf("fine_tuned", drawn))
        for drawn in weights
    ]
    facts = measured.facts
    gap = facts["gap_closed"]["dev"]["chrf"]

    assert facts["scores"]["dev"]["chrf"] == pytest.approx(distilled)
    assert facts["comparison_scores"]["teacher"]["dev"]["chrf"] == pytest.approx(teacher)
    assert facts["comparison_scores"]["fine_tuned"]["test"]["chrf"] == pytest.approx(fine_tuned)
    assert gap["value"] == pytest.approx((distilled - fine_tuned) / (teacher - fine_tuned))
    assert gap["low"] == pytest.approx(np.quantile(shares, TAIL, method="lower"))
    assert gap["high"] == pytest.approx(np.quantile(shares, 1 - TAIL, method="higher"))


def test_the_resamples_of_every_system_are_kept(measured: Measured) -> None:
    """Metric by system by resample, equal to a loop over repeated examples."""
    weights = resample_weights(len(REFERENCES), resamples=20, seed=13).tolist()

    assert measured.scores["dev"].shape == (2, 3, 20)
    np.testing.assert_allclose(measured.scores["dev"][0], [[chrf(name, drawn) for drawn in weights] for name in TEXTS])
    assert measured.higher_is_better == {"chrf": True, "distinct_2": True}


def test_a_finished_cell_names_its_row(measured: Measured) -> None:
    """Group, method, task and seed of the study, and the seconds that the caller gives."""
    facts = measured.facts

    assert (facts["paper_stage"], facts["method"], facts["task"], facts["seed"]) == ("S3", "Logits", "tiny", 1)
    assert facts["seconds"] == 2.5
    assert measured.primary_metric == "chrf"


def test_the_encoder_of_a_metric_is_in_the_key(raw: dict[str, Any]) -> None:
    """The predictions are the same, the scores of bertscore are not; without bertscore its encoder changes nothing."""
    keys = {
        (metric, model): stage_of(cell_of(raw, metrics=["chrf", metric], bertscore={"model": model})).key
        for metric in ("bertscore", "distinct_2")
        for model in ("small", "large")
    }

    assert keys["bertscore", "small"] != keys["bertscore", "large"]
    assert keys["distinct_2", "small"] == keys["distinct_2", "large"]
