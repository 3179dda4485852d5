from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import CHRF
from understudy.pipeline.bench import Bench
from understudy.pipeline.learned import Learned

from understudy.config.study import Cell, cells_of, check_study
from understudy.evaluation.bootstrap import TAIL, resample_weights
from understudy.evaluation.predictions import write_predictions
from understudy.progress import NoProgress
from understudy.records import Prediction, TaskData
from understudy.store import Finished, Store
from understudy.study.cell_scores import Measured, make_row, read_row

REFERENCES = [f"rain and wind {word} by night" for word in ("early", "late", "cold", "slowly", "gone", "heavy")]
TEXTS = {
    "teacher": REFERENCES,
    "fine_tuned": ["rain by day", "wind late", "cold", "slowly", "it is gone", "a heavy day"],
    "logits_kd": [*REFERENCES[:2], "rain and wind", "slowly by night", "wind gone by night", "heavy rain"],
}


def stage_of(store: Store, name: str, texts: Sequence[str]) -> Finished:
    """A stage of answers, dev as test."""

    def work(folder: Path) -> Mapping[str, object]:
        answers = [
            Prediction(str(i), "some", (reference,), text)
            for i, (reference, text) in enumerate(zip(REFERENCES, texts, strict=True))
        ]
        for split in ("dev", "test"):
            write_predictions(folder / f"{split}.jsonl", answers)
        return {}

    return store.stage(f"answers_{name}", settings={}, inputs={}, work=work)


@pytest.fixture
def row(raw: dict[str, Any], tmp_path: Path) -> Measured:
    """The row of a cell whose answers are known."""
    cell = cell_of(raw)
    return read_row(made_row(cell, tmp_path), cell, seconds=2.5)


def cell_of(raw: dict[str, Any], **task: object) -> Cell:
    """The study's first cell, its task scored by chrF and diversity."""
    raw["base"]["task"] |= {"metrics": ["chrf", "distinct_2"], "primary_metric": "chrf", **task}
    return next(cells_of(check_study(raw, folder=Path())))


def made_row(cell: Cell, folder: Path) -> Finished:
    """The stage of its row, from known answers."""
    store = Store(folder)
    answers = {name: stage_of(store, name, texts) for name, texts in TEXTS.items()}
    nobody = TaskData((), (), (), ())
    return make_row(Bench(cell.recipe, store, NoProgress(), "float32"), Learned({}, {}, answers, {}, nobody))


def chrf(name: str, weights: Sequence[int]) -> float:
    """The score of a resample, by repeating each example as often as it was drawn."""
    texts = [text for text, times in zip(TEXTS[name], weights, strict=True) for _ in range(times)]
    references = [text for text, times in zip(REFERENCES, weights, strict=True) for _ in range(times)]
    return float(CHRF().corpus_score(texts, [references]).score)


def test_the_row_is_a_hand_computation_from_the_answers(row: Measured) -> None:
    """Scores and share by another library; the interval by a loop over its scores of every resample."""
    once = [1] * len(REFERENCES)
    teacher, fine_tuned, distilled = (chrf(name, once) for name in TEXTS)
    weights = resample_weights(len(REFERENCES), resamples=20, seed=13).tolist()
    shares = [
        (chrf("logits_kd", drawn) - chrf("fine_tuned", drawn)) / (chrf("teacher", drawn) - chrf("fine_tuned", drawn))
        for drawn in weights
    ]
    gap = row.facts["gap_closed"]["dev"]["chrf"]

    assert row.facts["scores"]["dev"]["chrf"] == pytest.approx(distilled)
    assert row.facts["comparison_scores"]["teacher"]["dev"]["chrf"] == pytest.approx(teacher)
    assert row.facts["comparison_scores"]["fine_tuned"]["test"]["chrf"] == pytest.approx(fine_tuned)
    assert gap["value"] == pytest.approx((distilled - fine_tuned) / (teacher - fine_tuned))
    assert gap["low"] == pytest.approx(np.quantile(shares, TAIL, method="lower"))
    assert gap["high"] == pytest.approx(np.quantile(shares, 1 - TAIL, method="higher"))


def test_the_resamples_of_every_system_are_kept(row: Measured) -> None:
    """Metric by system by resample, as a loop over repeated examples scores them."""
    weights = resample_weights(len(REFERENCES), resamples=20, seed=13).tolist()

    assert row.scores["dev"].shape == (2, 3, 20)
    np.testing.assert_allclose(row.scores["dev"][0], [[chrf(name, drawn) for drawn in weights] for name in TEXTS])
    assert row.higher_is_better == {"chrf": True, "distinct_2": True}


def test_a_row_knows_its_cell(row: Measured) -> None:
    """Stage, method, task, seed and the seconds it was given."""
    facts = row.facts

    assert (facts["paper_stage"], facts["method"], facts["task"], facts["seed"]) == ("S3", "Logits", "tiny", 1)
    assert facts["seconds"] == 2.5
    assert row.primary_metric == "chrf"


def test_another_encoder_makes_another_row(raw: dict[str, Any], tmp_path: Path) -> None:
    """The answers are the same, the scores are not."""
    one, other = (made_row(cell_of(raw, bertscore={"model": name}), tmp_path) for name in ("small", "large"))

    assert one.key != other.key
    assert made_row(cell_of(raw, bertscore={"model": "large"}), tmp_path).key == other.key
