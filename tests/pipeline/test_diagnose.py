"""Diagnostics of the tiny run: exposure bias, completed texts, and the costs of fewer layers."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.cli import main
from understudy.errors import EvaluationError, StoreError, VocabularyError
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.inspect.diagnose import diagnose, text_metric
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.inspect.student_vs_teacher import PASSES, refuse_other_tokens
from understudy.pipeline.run import Run
from understudy.progress import NO_VALUES, NoProgress, ProgressCallback, Values
from understudy.report.diagnostics import Diagnostics

DEV = 6
"""Dev inputs of the tiny recipe."""


class RecordedProgress(NoProgress):
    """A progress that records the total of each piece of work and how much was reported."""

    def __init__(self) -> None:
        self.pieces: list[list[float]] = []

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Starts a piece of work."""
        piece = [total or 0.0, 0.0]
        self.pieces.append(piece)

        def advance(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
            piece[1] += amount

        yield advance

    def log(self, message: str) -> None:
        """Ignores the line."""


@pytest.fixture(scope="module")
def recorded() -> RecordedProgress:
    """The progress of the first diagnosis."""
    return RecordedProgress()


@pytest.fixture(scope="module")
def diagnosed(finished: Run, recorded: RecordedProgress) -> Diagnostics:
    """The diagnostics of the tiny run."""
    return diagnose(finished.folder, inputs=DEV, pruned=True, progress=recorded)


def test_both_students_are_compared_with_the_teacher(diagnosed: Diagnostics) -> None:
    """Every curve has a point per length within its interval, and every share of the text a score."""
    assert list(diagnosed["students"]) == ["fine_tuned", "joint_teaching"]
    for own in diagnosed["students"].values():
        band = own["excess_error"]
        assert all(low <= high for low, high in zip(band["low"], band["high"], strict=True))
        assert len(band["value"]) == len(own["kl_on_student_text"]) == len(own["kl_on_teacher_text"]) > 1
        assert own["kl_on_student_text"][0] > 0
        assert own["teacher_entropy_on_teacher_text"]["mean"] > 0
        assert [score["percent"] for score in own["completion_scores"]] == [0, 25, 50, 75, 100]


def test_the_first_position_has_one_prefix(diagnosed: Diagnostics) -> None:
    """It is empty for both networks, so there is no exposure bias at length 1."""
    for own in diagnosed["students"].values():
        assert own["excess_error"]["value"][0] == pytest.approx(0, abs=1e-3)
        assert own["kl_on_student_text"][0] == pytest.approx(own["kl_on_teacher_text"][0], rel=1e-4)


def test_the_ends_are_the_scores_of_the_report(finished: Run, diagnosed: Diagnostics) -> None:
    """The run decodes greedily: at 100 % the score is the student's on dev, at 0 % the teacher's."""
    dev = finished.facts["dev"]
    for name, own in diagnosed["students"].items():
        values = {score["percent"]: score["value"] for score in own["completion_scores"]}
        assert values[100] == pytest.approx(dev[name]["bleu"])
        assert values[0] == pytest.approx(dev["teacher"]["bleu"])


def test_the_teacher_is_timed_at_every_depth_and_length(diagnosed: Diagnostics) -> None:
    """The tiny teacher has one layer on each side, so there is one depth; lengths halve from the longest text."""
    costs = diagnosed["depths"]["costs"]

    assert [(cost["encoder_layers"], cost["decoder_layers"]) for cost in costs] == [(1, 1)] * 4
    assert [cost["tokens"] for cost in costs] == [25, 50, 100, 200]
    assert all(cost["latency_ms"] > 0 and cost["throughput_per_s"] > 0 for cost in costs)


def test_page_and_facts_are_in_the_folder_of_the_run(finished: Run, diagnosed: Diagnostics) -> None:
    """The JSON holds what `diagnose` returned, the page shows it."""
    assert json.loads((finished.folder / "diagnostics.json").read_text()) == diagnosed
    assert "Exposure bias" in (finished.folder / "diagnostics.html").read_text()


def test_the_progress_of_all_work_is_reported(diagnosed: Diagnostics, recorded: RecordedProgress) -> None:
    """Two students and the depths; each reports its whole total."""
    assert diagnosed["inputs"] == DEV
    assert recorded.pieces == [[PASSES * DEV, PASSES * DEV]] * 2 + [[4, 4]]


def test_a_second_diagnosis_measures_nothing_again(finished: Run, diagnosed: Diagnostics) -> None:
    """It returns the same, also where the costs by depth are not requested."""
    again = RecordedProgress()

    assert diagnose(finished.folder, inputs=DEV, pruned=True, progress=again) == diagnosed
    assert diagnose(finished.folder, inputs=DEV, progress=again) == diagnosed
    assert again.pieces == []


def test_the_command_prints_numbers_and_the_path(
    finished: Run, diagnosed: Diagnostics, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The excess error, the completion scores and the entropies of both students."""
    monkeypatch.setattr(sys, "argv", ["understudy", "diagnose", str(finished.folder), "--inputs", str(DEV), "--prune"])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capfd.readouterr().out

    assert stopped.value.code == 0
    assert f"ExAccErr({len(diagnosed['students']['fine_tuned']['kl_on_student_text'])})" in printed
    assert printed.count("BLEU at 0, 50, 100 %") == printed.count("teacher entropy") == 2
    assert str(finished.folder / "diagnostics.html") in printed


def test_no_inputs_are_refused(finished: Run) -> None:
    """There is nothing to take a mean of."""
    with pytest.raises(EvaluationError, match=r"0 inputs.*at least 1"):
        diagnose(finished.folder, inputs=0)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The message gives a folder of a run as an example."""
    with pytest.raises(StoreError, match=r"holds no finished run.*runs/demo"):
        diagnose(tmp_path)


def test_other_tokens_are_refused() -> None:
    """Distributions over two vocabularies cannot be compared."""
    tokenizers = [train_tokenizer([text] * 3, vocab_size=120) for text in ("snow", "överallt")]

    with pytest.raises(VocabularyError, match="student has the teacher's tokenizer"):
        refuse_other_tokens(*(TaskTokenizer(one, True, "{source}", 9, 9) for one in tokenizers))


@pytest.mark.parametrize(
    ("metrics", "primary", "expected"),
    [(("nll", "chrf"), "nll", "chrf"), (("nll",), "nll", "bleu"), (("rouge",), "rouge", "rouge")],
)
def test_completed_texts_are_scored_by_a_metric_of_texts(
    finished: Run, metrics: tuple[str, ...], primary: str, expected: str
) -> None:
    """The likelihood of gold does not depend on generated texts."""
    opened = open_run(finished.folder)
    task = opened.recipe.task.model_copy(update={"metrics": metrics, "primary_metric": primary})

    assert text_metric(replace(opened, recipe=opened.recipe.model_copy(update={"task": task}))) == expected
