"""A finished run needs its scores alone: what only led to them may be deleted, and is made again where it is needed."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.config.recipe import Recipe
from understudy.errors import StoreError
from understudy.pipeline.context import STORE
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.inspect.diagnose import diagnose
from understudy.pipeline.inspect.open import open_pool, open_run
from understudy.pipeline.run import Run, run
from understudy.progress import NoProgress
from understudy.report.facts import Facts
from understudy.report.page import write_report

NETWORKS = ("teacher", "fine_tuned", "student", "final_finetune")


class Lines(NoProgress):
    """Collects the lines it is sent."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Keeps one line."""
        self.lines.append(message)


def made_by(done: Run) -> list[str]:
    """The stages that a run made itself."""
    return [stage["name"] for stage in done.facts["stages"] if not stage["reused"]]


@dataclass(frozen=True)
class Copy:
    """A copy of the finished run with its store."""

    out: Path
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / self.recipe.name

    def stages(self) -> set[str]:
        """The folders in the store."""
        return {path.name for path in (self.out / STORE).iterdir() if not path.name.startswith(".")}

    def delete(self, *names: str, but: Iterable[str] = ()) -> None:
        """Deletes the stages of these names, or all stages but those of some names."""
        for folder in self.stages():
            name = folder.rpartition("-")[0]
            if name in names or (but and name not in but):
                shutil.rmtree(self.out / STORE / folder)

    def run(self) -> tuple[Facts, list[str]]:
        """Runs the recipe again; its facts and the names of the stages that it made."""
        before = self.stages()
        facts = run(self.recipe, out=self.out).facts
        return facts, sorted(folder.rpartition("-")[0] for folder in self.stages() - before)

    def label(self, label: str) -> str:
        """The folder of a stage of the run."""
        return open_run(self.folder).stages[label].name


@pytest.fixture
def copy(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> Copy:
    """The finished run, to delete from."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs", symlinks=True)
    return Copy(tmp_path / "runs", check_recipe(tiny))


def scores_of(facts: Facts) -> list[Any]:
    """What must not change: scores with their intervals."""
    return [facts["gap_closed"], [system["scores"] for system in facts["systems"]]]


def test_a_run_whose_stages_were_deleted_makes_nothing(copy: Copy, finished: Run) -> None:
    """But for the examples and metrics, on which keys depend, and the delivered student, only the scores are needed."""
    copy.delete(but=("examples", "metric_choice", "scores", "final_finetune"))
    facts, made = copy.run()
    opened = open_run(copy.folder)
    (copy.folder / "report.html").unlink()
    write_report(opened.facts, copy.folder)

    assert made == []
    assert scores_of(facts) == scores_of(finished.facts)
    assert scores_of(opened.facts) == scores_of(finished.facts)
    assert (copy.folder / "report.html").stat().st_size > 10_000


def test_predictions_are_enough_to_evaluate(copy: Copy, finished: Run) -> None:
    """A second run in between does not lose them."""
    copy.delete(but=("examples", "scores", "predictions", "final_finetune"))
    copy.run()
    scores = score_split(copy.folder, split="test")

    assert {name: {one.signature: one.value for one in own} for name, own in scores.items()} == {
        system["name"]: {one["signature"]: one["value"] for one in system["scores"].values()}
        for system in finished.facts["systems"]
    }


def test_evaluation_without_predictions_says_how_to_make_them(copy: Copy) -> None:
    """The message names the stage and what to delete; after that a run makes both and trains nothing."""
    predictions, scores = copy.label("predictions_teacher"), copy.label("scores")
    shutil.rmtree(copy.out / STORE / predictions)
    lines = Lines()

    assert made_by(run(copy.recipe, out=copy.out, progress=lines)) == []
    assert re.search(rf"not made again .*: predictions_teacher; .*delete .*{scores} and run", lines.lines[-1])
    with pytest.raises(StoreError, match=rf"predictions_teacher.*{predictions}.*delete {scores}.*run the recipe again"):
        score_split(copy.folder, split="test")
    shutil.rmtree(copy.out / STORE / scores)
    assert copy.run()[1] == ["predictions", "scores"]
    assert score_split(copy.folder, split="test")


@pytest.mark.parametrize(
    ("deleted", "made"),
    [
        (("scores",), ["scores"]),
        (("scores", "teacher_logprobs", "tokenizer"), ["scores"]),
        (("scores", "predictions", "conversion"), ["conversion"] * 3 + ["predictions"] * 3 + ["scores"]),
        # Two texts of 24 labeled and 40 unlabeled inputs in blocks of 24: one, and three more, of three blocks.
        (("scores", "pseudo_target_shard"), ["pseudo_target_shard"] * 6 + ["scores"]),
        (("scores", "student"), ["scores", "student"]),
    ],
)
def test_only_what_is_needed_is_made_again(
    copy: Copy, finished: Run, deleted: tuple[str, ...], made: list[str]
) -> None:
    """The scores are the same; nothing is trained unless its network is missing."""
    copy.delete(*deleted)
    facts, again = copy.run()

    assert again == made
    assert scores_of(facts) == scores_of(finished.facts)


def test_a_run_without_its_scores_is_not_opened(copy: Copy) -> None:
    """The message says what to do."""
    copy.delete("scores")

    with pytest.raises(StoreError, match=r"scores.*deleted.*run its recipe again"):
        open_run(copy.folder)


@pytest.mark.parametrize(("label", "kind"), [("teacher", "teacher"), ("fine_tuned", "fine_tuned"), ("data", "data")])
def test_diagnostics_need_networks(copy: Copy, label: str, kind: str) -> None:
    """The message names the one that was deleted."""
    folder = copy.label(label)
    copy.delete(kind)

    with pytest.raises(StoreError, match=rf"'{label}'.*{re.escape(folder)}.*run the recipe again"):
        diagnose(copy.folder, inputs=2)


def test_networks_are_enough_to_diagnose(copy: Copy) -> None:
    """Predictions, conversions and pseudo-targets may be gone."""
    copy.delete(but=("data", "examples", "scores", *NETWORKS))

    assert diagnose(copy.folder, inputs=2)["inputs"] == 2


def test_a_pool_without_its_shards_is_not_shown(copy: Copy) -> None:
    """The message names a shard and what to do, which shows it again."""
    scores = copy.label("scores")
    copy.delete("pseudo_target_shard")

    with pytest.raises(StoreError, match=rf"pseudo_target_shard-.*delete {scores}.*run the recipe again"):
        open_pool(copy.folder, student=False)
    copy.delete("scores")
    copy.run()
    assert len(open_pool(copy.folder, student=False)[0]) == 2 * 64
