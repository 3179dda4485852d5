"""Damaged files of a finished run: every command that reads them refuses, and names the folder to delete."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.errors import StoreError
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.inspect.diagnose import diagnose
from understudy.pipeline.inspect.open import open_pool, open_run
from understudy.pipeline.run import Run, run

WEIGHTS = "network/model.safetensors"


class Damaged:
    """A copy of the finished run, of which a test damages a file."""

    def __init__(self, finished: Run, recipe: dict[str, Any], out: Path) -> None:
        shutil.copytree(finished.folder.parent, out, symlinks=True)
        self.out, self.folder, self.recipe = out, out / recipe["name"], check_recipe(recipe)
        self.stages = {label: out / "store" / folder.name for label, folder in finished.stages.items()}

    def run(self) -> Run:
        """Runs the recipe again."""
        return run(self.recipe, out=self.out)


@pytest.fixture
def damaged(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> Damaged:
    """The run, still intact."""
    return Damaged(finished, tiny, tmp_path / "runs")


def zeros(path: Path) -> None:
    """Zeros in the last half: the header of weights stays valid."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def other_letter(path: Path) -> None:
    """Another letter: JSON stays JSON, and Arrow stays Arrow."""
    content = path.read_bytes()
    place = content.index(b"e", len(content) // 2)
    path.write_bytes(content[:place] + b"o" + content[place + 1 :])


def half(path: Path) -> None:
    """The first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def evaluate_it(one: Damaged) -> object:
    """`understudy evaluate`."""
    return score_split(one.folder)


def diagnose_it(one: Damaged) -> object:
    """`understudy diagnose`."""
    return diagnose(one.folder, inputs=2)


def show_pool(one: Damaged) -> object:
    """`understudy pool show`."""
    return open_pool(one.folder, student=False)


def report_it(one: Damaged) -> object:
    """`understudy report`."""
    return open_run(one.folder)


def run_it(one: Damaged) -> object:
    """`understudy run`."""
    return one.run()


@pytest.mark.parametrize(
    ("label", "name", "harm", "readers"),
    [
        ("data", "labeled.arrow", other_letter, [show_pool]),
        ("data", "dev.arrow", other_letter, [diagnose_it]),
        ("teacher", WEIGHTS, zeros, [diagnose_it]),
        ("predictions_teacher", "test.jsonl", other_letter, [evaluate_it]),
        ("predictions_teacher", "test-likelihood.npy", zeros, [evaluate_it]),
        ("joint_teaching", WEIGHTS, half, [report_it, evaluate_it, diagnose_it, show_pool, run_it]),
        ("joint_teaching", WEIGHTS, zeros, [report_it, evaluate_it, diagnose_it, show_pool, run_it]),
        ("joint_teaching", WEIGHTS, Path.unlink, [report_it, evaluate_it, diagnose_it, show_pool, run_it]),
        ("scores", "facts.json", other_letter, [report_it, evaluate_it, run_it]),
        ("scores", "manifest.json", half, [report_it, evaluate_it, run_it]),
        ("fine_tuned", "manifest.json", other_letter, [report_it, run_it]),
    ],
)
def test_commands_refuse_what_was_damaged(
    damaged: Damaged, label: str, name: str, harm: Callable[[Path], None], readers: list[Callable[[Damaged], object]]
) -> None:
    """None uses or advertises it; each names the stage's folder and says to run the recipe again."""
    folder = damaged.stages[label]
    harm(folder / name)

    for read in readers:
        with pytest.raises(StoreError, match=rf"(?s){re.escape(folder.name)}.*delete.*run the recipe again"):
            read(damaged)


def test_what_the_message_says_repairs_a_student(damaged: Damaged, finished: Run) -> None:
    """After its folder was deleted, the recipe makes it again with the same bytes."""
    folder = damaged.stages["joint_teaching"]
    half(folder / WEIGHTS)
    shutil.rmtree(folder)
    again = damaged.run()

    assert (again.folder / "student" / "model.safetensors").stat().st_size > 0
    assert [s["name"] for s in again.facts["stages"] if not s["reused"]] == ["final_finetune"]
    assert (again.folder / "student" / "config.json").read_bytes() == (
        finished.folder / "student" / "config.json"
    ).read_bytes()


def test_what_the_message_says_repairs_predictions(damaged: Damaged) -> None:
    """A finished run would make nothing: the message names the scores too."""
    folder = damaged.stages["predictions_teacher"]
    half(folder / "test.jsonl")
    with pytest.raises(StoreError) as refused:
        score_split(damaged.folder)
    named = set(re.findall(r"(?:predictions|scores)-[0-9a-f]{16}", str(refused.value)))

    assert named == {folder.name, damaged.stages["scores"].name}
    for name in named:
        shutil.rmtree(damaged.out / "store" / name)
    damaged.run()
    assert score_split(damaged.folder)


@pytest.mark.parametrize("name", ["stages.json", "recipe.yaml"])
@pytest.mark.parametrize("harm", [other_letter, half, zeros])
def test_a_damaged_record_of_a_run_is_written_again(damaged: Damaged, name: str, harm: Callable[[Path], None]) -> None:
    """The run's folder is opened no more; running the recipe makes nothing and writes it again."""
    path = damaged.folder / name
    before = path.read_text()
    harm(path)

    with pytest.raises(StoreError, match=rf"{re.escape(str(damaged.folder))}.*run the recipe again"):
        open_run(damaged.folder)
    again = damaged.run()
    assert [stage for stage in again.facts["stages"] if not stage["reused"]] == []
    assert open_run(damaged.folder).facts["systems"] == again.facts["systems"]
    assert name != "recipe.yaml" or path.read_text() == before


def test_a_broken_report_is_written_again(damaged: Damaged, finished: Run) -> None:
    """It is an output; nothing reads it, not even to know which stages the run made."""
    half(damaged.folder / "report.json")

    assert open_run(damaged.folder).facts["stages"] == finished.facts["stages"]
