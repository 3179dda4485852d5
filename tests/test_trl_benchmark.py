"""`benchmarks/trl_comparison.py`: its curves, its recipes, and the seconds of the stages it counts; TRL where it is."""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks import trl_comparison
from benchmarks.trl_parts import stages
from benchmarks.trl_parts.curves import Point, common_loss, fastest, seconds_to

from understudy.config.read import check_recipe

CURVE = [Point(0, 0.0, 5.0), Point(10, 4.0, 3.0), Point(20, 8.0, 4.0), Point(30, 12.0, 2.0)]


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    """Of a small run."""
    return trl_comparison.read_arguments(["--small", "--out", str(tmp_path)])


def test_a_loss_between_two_evaluations_is_reached_between_them() -> None:
    """The first time; never, where no evaluation is as low."""
    assert seconds_to(CURVE, 4.5) == 1.0
    assert seconds_to(CURVE, 3.0) == 4.0
    assert seconds_to(CURVE, 2.5) == 11.0
    assert seconds_to(CURVE, 6.0) == 0.0
    assert seconds_to(CURVE, 1.0) == float("inf")


def test_the_common_loss_is_the_worst_of_the_best() -> None:
    """Each system has the best of its curves, and its fastest curve to that loss."""
    slow = [Point(0, 0.0, 5.0), Point(10, 100.0, 2.5)]

    assert common_loss([[CURVE], [slow, CURVE[:2]]]) == 2.5
    assert fastest([slow, CURVE], 2.5) == 11.0
    assert fastest([slow, CURVE[:2]], 2.5) == 100.0


@pytest.mark.parametrize("system", trl_comparison.METHODS)
def test_the_recipes_are_valid_and_train_on_equally_many_texts(system: str, arguments: argparse.Namespace) -> None:
    """Forward KL, samples without truncation, the same first weights, a constant learning rate."""
    recipe = check_recipe(trl_comparison.recipe(system, 1e-3, arguments))
    shares = recipe.distil.targets
    texts = recipe.training.epochs * (1 + shares.gold / (shares.teacher + shares.student))

    assert texts == pytest.approx(2 * arguments.epochs, rel=0.15)
    assert recipe.distil.objective.kind == "forward_kl"
    assert recipe.distil.initial_weights == "fine_tuned"
    assert recipe.training.schedule == "constant"
    assert recipe.distil.student_samples.decoding.model_dump() == {
        "kind": "sampling", "top_k": 0, "top_p": 1.0, "temperature": 1.0,
    }  # fmt: skip


def test_evaluations_are_not_in_the_time_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands at these seconds: start, step, evaluation, step, evaluation."""
    now = iter([10.0, 13.0, 17.0, 17.0, 22.0, 30.0, 30.0])
    monkeypatch.setattr(time, "process_time", lambda: next(now))
    clock = stages.Clock()

    with clock.track("student", 2, "round") as report:
        report(1, "loss 2.000", {"step": 5, "loss": 2.0})
        report(0, "dev nll 1.50", {"step": 5, "nll": 1.5})
        report(1, "loss 1.000", {"step": 9, "loss": 1.0})
        report(0, "dev nll 1.25", {"step": 9, "nll": 1.25})

    assert clock.curve == [Point(5, 3.0, 1.5), Point(9, 8.0, 1.25)]


def test_students_of_an_earlier_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their trainings would not be timed."""
    (tmp_path / "store" / "student-0").mkdir(parents=True)

    with pytest.raises(SystemExit):
        trl_comparison.read_arguments(["--out", str(tmp_path)])
    assert "students of an earlier run" in capsys.readouterr().err


def test_without_trl_the_script_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In one sentence, before anything is trained."""
    monkeypatch.setattr(trl_comparison, "find_spec", lambda _name: None)

    with pytest.raises(SystemExit):
        trl_comparison.read_arguments(["--out", str(tmp_path)])
    assert "pip install 'trl==1.16.*' datasets accelerate" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")
def test_the_clock_of_trl_leaves_evaluations_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 steps with one evaluation after each second one: 3 and 5 seconds of training, evaluations of 10."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from benchmarks.trl_parts.trainers import Clock

    now = iter([10.0, 13.0, 23.0, 28.0, 38.0])
    monkeypatch.setattr(time, "process_time", lambda: next(now))
    losses = iter([3.0, 2.0, 1.0])
    clock = Clock(2, lambda _network: next(losses))
    clock.on_train_begin(None, None, None, model=None)
    for step in range(1, 5):
        clock.on_step_end(None, SimpleNamespace(global_step=step, max_steps=4), None, model=None)

    assert clock.curve == [Point(0, 0.0, 3.0), Point(2, 3.0, 2.0), Point(4, 8.0, 1.0)]
