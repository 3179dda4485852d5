import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from understudy.pipeline.beside import PASSES, metric_of, refuse_other_tokens
from understudy.pipeline.diagnose import diagnose
from understudy.pipeline.readers import Reader

from understudy.cli import main
from understudy.errors import EvaluationError, StoreError, VocabularyError
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.run import Run
from understudy.progress import ProgressCallback
from understudy.report.diagnostics import Diagnostics

DEV = 6
"""Dev inputs of the tiny recipe."""


class Told:
    """A progress that remembers what was worked on, and how far it came."""

    def __init__(self) -> None:
        self.vocab_size: list[list[float]] = []

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Opens a piece of work."""
        piece = [total or 0.0, 0.0]
        self.vocab_size.append(piece)

        def advance(amount: float, note: str = "") -> None:
            piece[1] += amount

        yield advance

    def log(self, message: str) -> None:
        """Lets the sentence go."""


@pytest.fixture(scope="module")
def told() -> Told:
    """Who hears of the first diagnosis."""
    return Told()


@pytest.fixture(scope="module")
def diagnosed(finished: Run, told: Told) -> Diagnostics:
    """The tiny run, looked into."""
    return diagnose(finished.folder, inputs=DEV, pruned=True, progress=told)


def test_both_students_stand_beside_the_teacher(diagnosed: Diagnostics) -> None:
    """Every curve has a point per length within its interval, and every share a score."""
    assert list(diagnosed["students"]) == ["fine_tuned", "joint_teaching"]
    for own in diagnosed["students"].values():
        band = own["excess_error"]
        assert all(low <= high for low, high in zip(band["low"], band["high"], strict=True))
        assert len(band["value"]) == len(own["kl_on_student_text"]) == len(own["kl_on_teacher_text"]) > 1
        assert own["kl_on_student_text"][0] > 0
        assert own["teacher_entropy_on_teacher_text"]["mean"] > 0
        assert [score["percent"] for score in own["completion_scores"]] == [0, 25, 50, 75, 100]


def test_the_first_position_has_one_prefix(diagnosed: Diagnostics) -> None:
    """Nobody has written anything yet, so there is no exposure bias at length 1."""
    for own in diagnosed["students"].values():
        assert own["excess_error"]["value"][0] == pytest.approx(0, abs=1e-3)
        assert own["kl_on_student_text"][0] == pytest.approx(own["kl_on_teacher_text"][0], rel=1e-4)


def test_the_ends_are_the_scores_of_the_report(finished: Run, diagnosed: Diagnostics) -> None:
    """The run itself was scored greedily: 100 % is the student's score on dev, 0 % the teacher's."""
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


def test_page_and_facts_lie_in_the_runs_folder(finished: Run, diagnosed: Diagnostics) -> None:
    """The JSON holds what was returned, the page shows it."""
    assert json.loads((finished.folder / "diagnostics.json").read_text()) == diagnosed
    assert "Exposure bias" in (finished.folder / "diagnostics.html").read_text()


def test_all_of_the_work_is_told(diagnosed: Diagnostics, told: Told) -> None:
    """Two students and the depths; every bar ends where it was said to end."""
    assert diagnosed["inputs"] == DEV
    assert told.vocab_size == [[PASSES * DEV, PASSES * DEV]] * 2 + [[4, 4]]


def test_what_was_looked_into_is_not_looked_into_again(finished: Run, diagnosed: Diagnostics) -> None:
    """A second call works on nothing and says the same, also where it does not ask for the costs by depth."""
    again = Told()

    assert diagnose(finished.folder, inputs=DEV, pruned=True, progress=again) == diagnosed
    assert diagnose(finished.folder, inputs=DEV, progress=again) == diagnosed
    assert again.vocab_size == []


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
    """There is no mean of nothing."""
    with pytest.raises(EvaluationError, match="diagnostics of 0 inputs were asked for; ask for at least 1"):
        diagnose(finished.folder, inputs=0)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The message says what a run's folder is."""
    with pytest.raises(StoreError, match="holds no finished run"):
        diagnose(tmp_path)


def test_other_tokens_are_refused() -> None:
    """Distributions over two vocabularies cannot be compared."""
    readers = [
        Reader(train_tokenizer([text] * 3, vocab_size=120), True, "{source}", 9, 9) for text in ("snow", "överallt")
    ]

    with pytest.raises(VocabularyError, match="diagnose a run whose student has the teacher's tokenizer"):
        refuse_other_tokens(*readers)


@pytest.mark.parametrize(
    ("metrics", "primary", "expected"),
    [(("nll", "chrf"), "nll", "chrf"), (("nll",), "nll", "bleu"), (("rouge",), "rouge", "rouge")],
)
def test_guided_texts_are_scored_by_a_metric_of_texts(metrics: tuple[str, ...], primary: str, expected: str) -> None:
    """The likelihood of gold says nothing of what was written."""
    recipe = SimpleNamespace(task=SimpleNamespace(metrics=metrics, primary_metric=primary))

    assert metric_of(recipe) == expected  # type: ignore[arg-type]
