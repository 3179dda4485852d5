"""A recipe whose metric, objective and checker are the examples of docs/extending.md, run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.read import read_recipe
from understudy.demo.forecast import forecast_task
from understudy.errors import ConfigError
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.run import Run, run
from understudy.progress import NoProgress
from understudy.store.stage import Stage, inputs_of

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
OBJECTIVE = {"kind": "custom", "function": "my_objectives.py:jeffreys", "settings": {"temperature": 2.0}}


def write_recipe(folder: Path, tiny: dict[str, Any]) -> Path:
    """The tiny recipe on files, with the page's code by paths relative to the recipe."""
    for source in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        (folder / source.splitlines()[0].removeprefix("# ")).write_text(source, encoding="utf-8")
    data = forecast_task(labeled=12, unlabeled=12, dev=4, test=6, references=2, seed=1)
    for split in ("labeled", "unlabeled", "dev", "test"):
        rows = [{"id": e.id, "source": e.source, "targets": list(e.targets)} for e in getattr(data, split)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "files": {split: f"{split}.jsonl" for split in ("labeled", "unlabeled", "dev", "test")},
        "checker": "my_checker.py:numbers",
        "metrics": ["bleu", "my_metrics.py:exact_match", "slot_error_rate"],
        "primary_metric": "my_metrics.py:exact_match",
        "max_source_tokens": 160,
        "max_target_tokens": 200,
    }
    distil = {"method": "logits_kd", "objective": OBJECTIVE}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**tiny, "name": "own", "task": task, "pseudo_targets": {}, "distil": distil}))
    return path


def keys(recipe: Path, out: Path) -> dict[str, set[str]]:
    """Name of a stage -> the keys of the stages of that name; trains nothing."""
    context = run_context(out, NoProgress(), allow_code=True)
    found: dict[str, set[str]] = {}

    def add(stage: Stage[Any]) -> None:
        found.setdefault(stage.name, set()).add(stage.key)
        for _, earlier in inputs_of(stage):
            add(earlier)

    add(build_run(read_recipe(recipe), context).scores)
    return found


@pytest.fixture(scope="module")
def recipe(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's file."""
    return write_recipe(tmp_path_factory.mktemp("own"), tiny)


@pytest.fixture(scope="module")
def done(recipe: Path) -> Run:
    """Its run."""
    return run(read_recipe(recipe), out=recipe.parent / "runs", allow_code=True)


def test_without_permission_nothing_is_made(recipe: Path, tmp_path: Path) -> None:
    """The message names the code and the option that allows it."""
    with pytest.raises(ConfigError, match=r"my_checker\.py:numbers.*--allow-code"):
        run(read_recipe(recipe), out=tmp_path)

    assert not list(tmp_path.glob("store/*-*"))


def test_the_report_has_the_scores_of_the_own_metric(done: Run) -> None:
    """By the name of the object, as the primary metric, next to the checker's."""
    scores = done.facts["systems"][0]["scores"]

    assert done.facts["primary_metric"] == "exact_match"
    assert list(scores) == ["bleu", "exact_match", "slot_error_rate"]
    assert scores["exact_match"]["label"] == "Exact match"
    assert re.search(r"^exact_match\|.*\|code:[0-9a-f]{8}\|", scores["exact_match"]["signature"])
    assert scores["slot_error_rate"]["value"] > 0
    assert re.search(r"\|code:[0-9a-f]{8}", scores["slot_error_rate"]["signature"])


def test_the_run_is_evaluated_again_with_permission_only(done: Run) -> None:
    """The recipe in the run's folder names the code by absolute paths."""
    again = score_split(done.folder, split="test", allow_code=True)

    assert [score.value for score in again["teacher"]] == [
        score["value"] for score in done.facts["systems"][0]["scores"].values()
    ]
    with pytest.raises(ConfigError, match="--allow-code"):
        score_split(done.folder, split="test")


@pytest.mark.parametrize(
    ("file", "remade"),
    [
        # The metric chooses the checkpoints of all trainings.
        ("my_metrics.py", {"teacher", "fine_tuned", "student", "scores"}),
        ("my_objectives.py", {"student", "scores"}),
        ("my_checker.py", {"teacher", "fine_tuned", "student", "scores"}),
    ],
)
def test_changed_code_makes_its_stages_again(
    done: Run, recipe: Path, tmp_path: Path, file: str, remade: set[str]
) -> None:
    """A comment is a change: only the source is known. The same code elsewhere is the same."""
    folder = tmp_path / "moved"
    shutil.copytree(recipe.parent, folder, ignore=shutil.ignore_patterns("runs"))
    out = done.folder.parent
    before = keys(recipe, out)
    assert keys(folder / recipe.name, out) == before

    (folder / file).write_text((folder / file).read_text() + "# changed\n")
    after = keys(folder / recipe.name, out)

    assert {name for name in remade if after[name] == before[name]} == set()
    assert after["tokenizer"] == before["tokenizer"]
    assert ("teacher" in remade) == (after["teacher"] != before["teacher"])
