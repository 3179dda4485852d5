"""The examples of docs/extending.md, run as they are printed there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from understudy.config.read import check_recipe
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask
from understudy.errors import ConfigError
from understudy.evaluation.metrics import MetricContext, SystemOutputs, metric_named, prepare_metrics, tally
from understudy.evaluation.slots import checker_named
from understudy.objectives import objective_of
from understudy.objectives.divergences import forward_kl, reverse_kl
from understudy.records import Prediction

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPE: dict[str, Any] = {
    "name": "extended",
    "task": {"files": {"labeled": "l.jsonl", "unlabeled": "u.jsonl", "dev": "d.jsonl", "test": "t.jsonl"}},
    "teacher": {"model": "teacher"},
    "student": {"model": "student"},
    "distil": {"method": "logits_kd"},
}


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The page's recipes, in a folder with the page's files."""
    monkeypatch.chdir(tmp_path)
    for source in blocks("python"):
        name = source.splitlines()[0].removeprefix("# ")
        Path(name).write_text(source, encoding="utf-8")
    parts = [yaml.safe_load(block) for block in blocks("yaml")]
    return [check_recipe({**RECIPE, **{key: {**RECIPE[key], **own} for key, own in part.items()}}) for part in parts]


def test_the_metric_scores(recipes: list[Recipe]) -> None:
    """Half of the texts equal one of their references."""
    _, name = recipes[0].task.metrics
    resources = prepare_metrics([name], MetricContext(), allow_code=True)
    outputs = SystemOutputs([Prediction("0", "", ("a", "b"), "b"), Prediction("1", "", ("a", "b"), "c")])
    result = tally(metric_named(name, allow_code=True), outputs, resources[name])

    assert result.value() == 50
    assert re.match(r"exact_match\|n:2\|refs:2\|norm:nfc\|case:mixed\|code:[0-9a-f]{8}\|understudy:", result.signature)


def test_the_objective_is_a_divergence(recipes: list[Recipe]) -> None:
    """Forward and reverse KL of the package add up to it."""
    objective, settings = objective_of(recipes[1].distil.objective, allow_code=True)
    student_NV, teacher_NV = torch.randn(2, 4, 5).unbind()
    expected = sum(each(student_NV, teacher_NV, temperature=2.0) for each in (forward_kl, reverse_kl))

    assert objective.needs == "teacher_logits"
    torch.testing.assert_close(objective.function(student_NV, teacher_NV, **settings), expected)


def test_the_checker_counts(recipes: list[Recipe]) -> None:
    """One number is missing and one is invented, of three that are given."""
    task = recipes[2].task
    assert isinstance(task, FilesTask)
    assert task.checker is not None
    checker = checker_named(task.checker, allow_code=True)
    resources = prepare_metrics(task.metrics, MetricContext.of(task, checker=checker))
    outputs = SystemOutputs([Prediction("0", "7 to 12 degrees, wind 30", (), "between 7 and 13, wind 30")])

    found = tally(metric_named("slot_error_rate"), outputs, resources["slot_error_rate"])
    assert found.value() == pytest.approx(100 * 2 / 3)


def test_no_example_runs_without_permission(recipes: list[Recipe]) -> None:
    """Each is refused with the option that allows it."""
    task = recipes[2].task
    assert isinstance(task, FilesTask)
    with pytest.raises(ConfigError, match="--allow-code"):
        metric_named(recipes[0].task.metrics[1])
    with pytest.raises(ConfigError, match="--allow-code"):
        objective_of(recipes[1].distil.objective)
    with pytest.raises(ConfigError, match="--allow-code"):
        checker_named(task.checker or "", allow_code=False)
