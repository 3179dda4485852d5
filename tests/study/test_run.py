"""A study: cells share stages, one failure stops no other cell, and finished work is never repeated."""

import functools
import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import CHRF
from tests.study.conftest import Recorder, delete_students, inputs_of, scores_of

from understudy.config.study import Study, check_study
from understudy.errors import ConfigError
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.training import TrainingFacts
from understudy.store import WorkerContext
from understudy.study.run_study import Choice, StudyResult, run_study

TOO_LONG = {"name": "Short", "group": "S3", "method": "logits_kd", "set": {"task": {"max_target_tokens": 2}}}
TRAINING = "distil the student"
SCORING = "compute scores and their resamples"


def test_every_cell_has_a_row(studied: StudyResult, tiny: Study) -> None:
    """Two methods with two seeds on one task are four rows, all methods with the first seed before the second."""
    assert [(row["method"], row["seed"]) for row in studied.results_table["rows"]] == [
        ("Logits", 1),
        ("Sequence-level", 1),
        ("Logits", 2),
        ("Sequence-level", 2),
    ]
    assert studied.results_table["missing"] == []
    assert studied.failures == []
    assert json.loads((studied.folder / "results_table.json").read_text()) == studied.results_table
    assert tiny.name in studied.page.read_text()


def test_cells_share_what_does_not_depend_on_seed_or_method(studied: StudyResult) -> None:
    """One data set, one tokenizer, one teacher and one pool; a baseline per seed; a student per cell."""
    stages = (studied.folder.parent / "store").glob("[!.]*")
    made = Counter(path.name.rsplit("-", 1)[0] for path in stages)

    assert made == {
        "data": 1,
        "metric_choice": 1,
        "text_check": 2,
        "training_steps": 4,
        "network_check": 3,
        "tokenizer": 1,
        "examples": 1,
        "teacher": 1,
        "teacher_logprobs": 1,
        "pseudo_target_shard": 1,
        "pseudo_targets": 1,
        "fine_tuned": 2,
        "student": 4,
        "conversion": 1 + 2 + 4,
        "predictions": 1 + 2 + 4,
        "cell_scores": 4,
    }


def test_the_scores_of_a_row_are_those_of_its_predictions(studied: StudyResult) -> None:
    """Another library gives the same scores for the texts in the stages of the cell."""
    for row in studied.results_table["rows"]:
        stages = inputs_of(scores_of(studied.folder, row["method"], row["seed"]))
        shown = {name: own["dev"]["chrf"] for name, own in row["comparison_scores"].items()}
        shown = {**shown, "distilled": row["scores"]["dev"]["chrf"]}
        for number, system in enumerate(("teacher", "fine_tuned", "distilled")):
            lines = (stages[f"systems.{number}.predictions"] / "dev.jsonl").read_text().splitlines()
            predictions = [json.loads(line) for line in lines]
            references = [[line["references"][0] for line in predictions]]
            expected = CHRF().corpus_score([line["text"] for line in predictions], references).score
            assert shown[system] == pytest.approx(expected)


def test_the_seconds_are_those_of_the_student_and_its_predictions(studied: StudyResult) -> None:
    """Stages that cells share are not counted."""
    for row in studied.results_table["rows"]:
        stages = inputs_of(scores_of(studied.folder, row["method"], row["seed"]))
        own = [stages[f"systems.2.{part}"] / "manifest.json" for part in ("network", "predictions")]
        assert row["seconds"] == pytest.approx(sum(json.loads(path.read_text())["seconds"] for path in own), abs=0.001)


def test_a_finished_study_is_not_made_again(studied: StudyResult, tiny: Study) -> None:
    """A second call does no work and has the same results table."""
    recorder = Recorder()
    again = run_study(tiny, out=studied.folder.parent, progress=recorder)

    assert (recorder.titles, recorder.lines) == ([], [])
    assert again.results_table == studied.results_table


@pytest.mark.usefixtures("store")
def test_a_lost_record_costs_no_training(studied: StudyResult, tiny: Study, tmp_path: Path) -> None:
    """The stages are found by their keys: a study without its records does no work either."""
    recorder = Recorder()
    again = run_study(tiny, out=tmp_path, progress=recorder)

    assert recorder.titles == []
    assert SCORING not in recorder.lines
    assert again.results_table == studied.results_table


@pytest.mark.usefixtures("store")
def test_another_study_over_the_same_store_shares_its_stages(raw: dict[str, Any], tmp_path: Path) -> None:
    """A study with one method more trains that method alone, and has a results table of its own."""
    raw |= {"name": "other", "seeds": [1]}
    raw["methods"].append({"name": "Fine-tune", "group": "S5", "method": "extreme_fine_tune"})
    recorder = Recorder()
    other = run_study(check_study(raw, folder=Path()), out=tmp_path, progress=recorder)

    assert Counter(recorder.titles)[TRAINING] == 1
    assert not [title for title in recorder.titles if "teacher" in title or "baseline" in title]
    assert [row["method"] for row in other.results_table["rows"]] == ["Logits", "Sequence-level", "Fine-tune"]
    assert other.folder == tmp_path / "other"


def test_a_changed_recipe_makes_its_cells_anew(studied: StudyResult, raw: dict[str, Any], tmp_path: Path) -> None:
    """The record of another recipe is not used; the stages that both recipes share are found."""
    shutil.copytree(studied.folder.parent, tmp_path / "runs")
    raw["methods"][0]["set"] = {"training": {"learning_rate": 1e-4}}
    recorder = Recorder()
    run_study(check_study(raw, folder=Path()), out=tmp_path / "runs", progress=recorder)

    assert Counter(recorder.titles) == {
        TRAINING: 2,
        "student predicts dev": 2,
        "student predicts test": 2,
    }


@dataclass
class TableRecorder(Recorder):
    """Counts the rows of the results table on disk whenever a stage is made."""

    table: Path = Path()
    rows: list[tuple[str, int]] = field(default_factory=list)

    def count(self, title: str) -> None:
        """Keeps the number of rows."""
        rows = json.loads(self.table.read_text())["rows"] if self.table.is_file() else []
        self.rows.append((title, len(rows)))

    def track(self, title: str, total: float | None, unit: str) -> Any:  # noqa: ANN401 - as in the base class
        """Counts."""
        self.count(title)
        return super().track(title, total, unit)

    def log(self, message: str) -> None:
        """Counts."""
        self.count(message)


def test_the_results_table_is_written_after_each_cell(
    studied: StudyResult, store: Path, tiny: Study, tmp_path: Path
) -> None:
    """A cell is scored before the next student is trained, so that a long study shows its first results early."""
    delete_students(studied, store, "Logits")
    delete_students(studied, store, "Sequence-level")
    recorder = TableRecorder(table=tmp_path / tiny.name / "results_table.json")
    run_study(tiny, out=tmp_path, progress=recorder)

    assert [rows for title, rows in recorder.rows if title == TRAINING] == [0, 1, 2, 3]
    assert [rows for title, rows in recorder.rows if title == SCORING] == [0, 1, 2, 3]


@pytest.mark.usefixtures("store")
def test_a_failing_cell_does_not_stop_the_others(raw: dict[str, Any], tmp_path: Path) -> None:
    """Its error is in the results table, and the next call tries it again."""
    raw["methods"].insert(0, TOO_LONG)
    study = check_study(raw, folder=Path())
    recorder = Recorder()
    done = run_study(study, out=tmp_path, progress=recorder)
    again = run_study(study, out=tmp_path, progress=recorder)

    assert [row["method"] for row in done.results_table["rows"]] == ["Logits", "Sequence-level"] * 2
    assert [(cell["method"], cell["seed"]) for cell in done.results_table["missing"]] == [("Short", 1), ("Short", 2)]
    assert all("max_target_tokens" in failure for failure in done.failures)
    assert done.failures[0] in recorder.lines[1].replace(" failed:", ":")
    assert sum("Short, seed 1 failed" in line for line in recorder.lines) == 2
    assert again.failures == done.failures


def test_an_unexpected_error_stops_its_cells_alone_and_is_resumed(
    studied: StudyResult, store: Path, tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as too little memory: the message names the file of the traceback; the next call makes what is missing."""
    delete_students(studied, store, "Logits")
    run_student = StudentStage.run

    @functools.wraps(run_student)
    def without_memory(stage: StudentStage, folder: Path, context: WorkerContext) -> TrainingFacts:
        raise MemoryError("cannot allocate 3 GB")

    with monkeypatch.context() as patch:
        patch.setattr(StudentStage, "run", without_memory)
        done = run_study(tiny, out=tmp_path)
    (trace, _) = sorted(done.folder.rglob("*.traceback.txt"))
    recorder = Recorder()
    resumed = run_study(tiny, out=tmp_path, progress=recorder)

    assert {row["method"] for row in done.results_table["rows"]} == {"Sequence-level"}
    assert done.failures[0].startswith("tiny, Logits, seed 1: MemoryError: cannot allocate 3 GB")
    assert str(trace) in done.failures[0]
    assert "in without_memory" in trace.read_text()
    assert Counter(recorder.titles)[TRAINING] == 2
    assert resumed.failures == []
    assert [row["scores"] for row in resumed.results_table["rows"]] == [
        row["scores"] for row in studied.results_table["rows"]
    ]


@pytest.mark.usefixtures("store")
def test_a_study_can_be_made_in_parts(tiny: Study, tmp_path: Path) -> None:
    """The results table shows which cells are finished and which are missing."""
    done = run_study(tiny, out=tmp_path, choice=Choice(tasks=["tiny"], methods=["Logits"]))

    assert {row["method"] for row in done.results_table["rows"]} == {"Logits"}
    assert [(cell["method"], cell["error"]) for cell in done.results_table["missing"]] == [("Sequence-level", "")] * 2
    assert done.failures == []


def test_unknown_parts_are_answered_with_the_known(tiny: Study, tmp_path: Path) -> None:
    """This holds for tasks, rows and seeds."""
    with pytest.raises(ConfigError, match=r"unknown task 'tyny'; known: tiny; did you mean 'tiny'\?"):
        run_study(tiny, out=tmp_path, choice=Choice(tasks=["tyny"]))
    with pytest.raises(ConfigError, match=r"unknown method 'logits'; known: Logits, Sequence-level"):
        run_study(tiny, out=tmp_path, choice=Choice(methods=["logits"]))
    with pytest.raises(ConfigError, match=r"unknown seed '3'; known: 1, 2"):
        run_study(tiny, out=tmp_path, choice=Choice(seeds=[1, 3]))


def test_the_resamples_of_a_cell_are_stored(studied: StudyResult) -> None:
    """Three metrics, three systems, twenty resamples, on both splits."""
    folder = scores_of(studied.folder, "Logits", 1)

    assert {split: np.load(folder / f"{split}.npy").shape for split in ("dev", "test")} == {
        "dev": (3, 3, 20),
        "test": (3, 3, 20),
    }
