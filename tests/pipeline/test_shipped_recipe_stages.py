"""The recipes and studies of the repository, on a few rows in the layout of their data sets: stages can be derived."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.family_checkpoints import CHECKPOINTS
from tests.pipeline.stage_helpers import derive

from understudy.config.model_sections import PretrainedTeacher, PrunedStudent
from understudy.config.read import check_recipe, merge, read_recipe, to_yaml
from understudy.config.recipe import Recipe
from understudy.config.study import Cell, cells_of, read_study
from understudy.config.task import HubTask
from understudy.models.checkpoint import config_of
from understudy.models.prune import kept_layers
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.layer_order import LayerOrderStage
from understudy.pipeline.stages.vocabulary import VocabularyStage
from understudy.store import Stage
from understudy.store.stage import inputs_of

FOLDER = Path(__file__).parents[2] / "recipes"
E2E, TABLE = FOLDER / "e2e.yaml", FOLDER / "results-table.yaml"
FAMILIES = [FOLDER / "gemma-e2e.yaml", *sorted((FOLDER / "families").glob("*.yaml"))]
ROWS = {"train": 12, "validation": 4, "test": 4}
SIZES = {"task": {"labeled_inputs": 4, "unlabeled_inputs": 5}}
WORDS = ("rain", "wind", "sun", "snow", "fog", "hail", "storm", "cloud", "frost", "heat", "ice", "mist")


def texts(split: str, number: int) -> tuple[str, str]:
    """Source and target of a row; no two rows of any split are equal."""
    return f"{split} {WORDS[number]} today", f"tomorrow it will {WORDS[number]} again"


def write_hub(task: HubTask, folder: Path) -> dict[str, Any]:
    """Writes a data set with the columns that a recipe's templates name; the overrides that take it instead."""
    folder.mkdir()
    (source, *others), (target,) = (re.findall(r"{(\w+)}", text) for text in (task.hub.source, task.hub.target))
    for split, count in ROWS.items():
        rows = [
            {source: texts(split, number)[0], target: texts(split, number)[1], **dict.fromkeys(others, "same")}
            for number in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Slices are longer than these files.
    splits = {name: re.sub(r"\[.*\]", "", str(split)) for name, split in task.hub.splits if split}
    return {"task": {"hub": {"dataset": str(folder), "revision": None, "splits": splits}}}


def on_local_data(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe that reads a local folder instead of the hub, in small numbers."""
    assert isinstance(recipe.task, HubTask)
    overrides = merge(write_hub(recipe.task, folder), SIZES)
    return check_recipe(merge(yaml.safe_load(to_yaml(recipe)), overrides))


def all_stages(stage: Stage[Any]) -> Iterator[Stage[Any]]:
    """A stage and everything that it needs."""
    yield stage
    for _, earlier in inputs_of(stage):
        yield from all_stages(earlier)


def test_the_e2e_recipe_reads_hub_data_and_local_files_alike(tmp_path: Path) -> None:
    """Its commented alternative with local files, filled with the same rows, gives the same examples."""
    recipe = on_local_data(read_recipe(E2E), tmp_path / "hub")
    alternatives = re.findall(r"^ *# (files: {.*})$", E2E.read_text(encoding="utf-8"), re.MULTILINE)
    names = yaml.safe_load(alternatives[0])["files"]
    assert names.keys() == {"labeled", "dev", "test"}
    files = {}
    for split, own in zip(names, ROWS, strict=True):
        rows = [dict(zip(("source", "target"), texts(own, number), strict=True)) for number in range(ROWS[own])]
        files[split] = str(tmp_path / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = yaml.safe_load(to_yaml(recipe))
    plain["task"] = {key: value for key, value in plain["task"].items() if key != "hub"} | {"files": files}
    data = []
    for one in (recipe, check_recipe(plain)):
        stages, context = derive(one, tmp_path / "runs")
        data.append(read_data(context.folder(stages.task.examples)))

    for split in ("labeled", "unlabeled", "dev", "test"):
        ours, theirs = ([(row.source, row.targets) for row in getattr(task, split)] for task in data)
        assert ours == theirs
    assert (len(data[0].labeled), len(data[0].unlabeled)) == (4, 5)


STAND_INS = {
    "google/gemma-3-270m": ("gemma-3", 18),
    "Qwen/Qwen3-0.6B": ("qwen-3", 28),
    "HuggingFaceTB/SmolLM2-135M": ("smollm-2", 30),
    "meta-llama/Llama-3.2-1B": ("llama-3.2", 16),
    "microsoft/Phi-3.5-mini-instruct": ("phi-3", 32),
    "openai-community/gpt2": ("gpt-2", 12),
    "facebook/opt-125m": ("opt", 12),
    "google/flan-t5-base": ("flan-t5", 12),
    "google/t5gemma-s-s-prefixlm": ("t5gemma", 8),
    "facebook/bart-base": ("bart", 6),
}
"""Name on the hub -> a tiny checkpoint of its family, and the model's number of layers."""


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_the_recipe_of_a_family_has_stages(path: Path, tmp_path: Path) -> None:
    """With a checkpoint of its family in place of the hub's: the layers to keep exist, and every text fits."""
    recipe = read_recipe(path)
    assert isinstance(recipe.teacher, PretrainedTeacher)
    assert isinstance(recipe.student, PrunedStudent)
    prune = recipe.student.prune
    family, layers = STAND_INS[recipe.teacher.model]
    CHECKPOINTS[family].save(tmp_path / "model", layers=layers)
    local = on_local_data(recipe, tmp_path / "hub")
    plain = merge(yaml.safe_load(to_yaml(local)), {"teacher": {"model": str(tmp_path / "model")}})
    stages, context = derive(check_recipe(plain), tmp_path / "runs")
    config = config_of(str(tmp_path / "model"))
    kept = kept_layers(config, encoder_layers=prune.encoder_layers, decoder_layers=prune.decoder_layers)
    (vocabulary,) = {stage for stage in all_stages(stages.scores) if isinstance(stage, VocabularyStage)}
    orders = {stage.decoder_layers for stage in all_stages(stages.scores) if isinstance(stage, LayerOrderStage)}

    assert len(kept["decoder"]) < layers
    assert orders == ({prune.decoder_layers} if prune.layers == "by_loss" else set())
    assert context.facts(vocabulary).tokens < context.facts(vocabulary).whole_tokens
    assert context.facts(stages.task.examples).counts["labeled"] == 4


def test_a_recipe_of_every_family_is_listed() -> None:
    """recipes/README.md names each file next to it, and each stand-in is that of a recipe."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    names = {str(path.relative_to(FOLDER)) for path in [*FAMILIES, *FOLDER.glob("*.yaml")]}
    teachers = [read_recipe(path).teacher for path in FAMILIES]

    assert {name for name in names if f"`{name}`" not in page} == set()
    assert {one.model for one in teachers if isinstance(one, PretrainedTeacher)} == STAND_INS.keys()


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """The cells of the results table with its first seed."""
    return [cell for cell in cells_of(read_study(TABLE)) if cell.seed == 1]


def test_every_method_of_the_results_table_has_stages(cells: list[Cell], tmp_path: Path) -> None:
    """All rows of a task share its teacher; each has a student of its own, but for those that only add a last step."""
    own = [cell for cell in cells if cell.task == "e2e"]
    recipe = own[0].recipe
    assert isinstance(recipe.task, HubTask)
    overrides = merge(write_hub(recipe.task, tmp_path / "hub"), SIZES)
    teachers, students = set(), set()
    for cell in own:
        plain = merge(yaml.safe_load(to_yaml(cell.recipe)), overrides)
        stages, _ = derive(check_recipe(plain), tmp_path / "runs")
        network = stages.systems.teacher.network
        assert network
        teachers.add(network.key)
        students.add(stages.systems.student.key)
        names = {stage.name for stage in all_stages(stages.scores)}
        assert {"data", "tokenizer", "examples", "teacher", "fine_tuned", "student", "benchmark", "scores"} <= names

    assert len(teachers) == 1
    assert len(own) > 20
    assert len(students) == len(own) - 1  # `Joint-Teaching, then gold` starts from the student of `Joint-Teaching`


def test_every_task_of_the_results_table_has_stages(cells: list[Cell], tmp_path: Path) -> None:
    """Its templates name the columns that the comments of the file list."""
    first = {cell.task: cell for cell in reversed(cells)}
    comments = re.findall(r"expected columns: (\w+(?:, \w+)*)", TABLE.read_text(encoding="utf-8"))
    assert len(comments) == len(first) > 3
    columns = {name.strip() for line in comments for name in line.split(",")}
    for task, cell in first.items():
        assert isinstance(cell.recipe.task, HubTask)
        hub = cell.recipe.task.hub
        assert set(re.findall(r"{(\w+)}", hub.source + hub.target)) <= columns
        stages, context = derive(on_local_data(cell.recipe, tmp_path / task), tmp_path / "runs")
        data = read_data(context.folder(stages.task.examples))
        assert (len(data.labeled), len(data.unlabeled), len(data.test)) == (4, 5, ROWS["test"])
