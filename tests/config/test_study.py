import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.study import cells_of, check_study, read_study
from understudy.errors import ConfigError

DOCS = Path(__file__).parent.parent.parent / "docs" / "studies.md"


@pytest.fixture
def raw(minimal: dict[str, Any]) -> dict[str, Any]:
    """Two tasks, two seeds, two methods."""
    base = {key: own for key, own in minimal.items() if key != "name"}
    return {
        "name": "results_table",
        "base": copy.deepcopy(base),
        "tasks": {"easy": {"task": {"forecast": {"labeled": 5}}}, "hard": None},
        "seeds": [1, 2],
        "methods": [
            {"name": "Logits", "stage": "S3", "method": "logits_kd"},
            {"name": "K beams", "stage": "S6", "method": "logits_pt", "set": {"training": {"epochs": 3}}},
        ],
    }


def names(raw: dict[str, Any]) -> list[str]:
    """The cells of a study."""
    return [cell.recipe.name for cell in cells_of(check_study(raw, folder=Path()))]


def refused(raw: dict[str, Any]) -> str:
    """What is wrong with a study."""
    with pytest.raises(ConfigError) as wrong:
        check_study(raw, folder=Path())
    return str(wrong.value)


def test_cells_are_seed_major(raw: dict[str, Any]) -> None:
    """All methods on all tasks have their first seed before any has its second."""
    assert names(raw) == [
        "easy-Logits-1",
        "easy-K-beams-1",
        "hard-Logits-1",
        "hard-K-beams-1",
        "easy-Logits-2",
        "easy-K-beams-2",
        "hard-Logits-2",
        "hard-K-beams-2",
    ]


def test_a_cell_is_the_base_the_task_and_the_row(raw: dict[str, Any]) -> None:
    """Each wins over the one before; the seed is the student's, and data and teacher keep theirs."""
    raw["base"]["training"] = {"epochs": 9, "learning_rate": 1e-4}
    cells = {cell.recipe.name: cell.recipe for cell in cells_of(check_study(raw, folder=Path()))}
    easy, hard = cells["easy-K-beams-2"], cells["hard-Logits-1"]

    assert (easy.task.forecast.labeled, hard.task.forecast.labeled) == (5, 1500)  # type: ignore[union-attr]
    assert (easy.training.epochs, easy.training.learning_rate, hard.training.epochs) == (3, 1e-4, 9)
    assert (easy.distil.method, hard.distil.method) == ("logits_pt", "logits_kd")
    assert (easy.student_seed, easy.seed) == (2, 13)


def test_rows_and_tasks_choose_where_they_run(raw: dict[str, Any]) -> None:
    """A task may have seeds of its own, a row may keep to some tasks and some seeds."""
    raw["tasks"]["hard"] = {"seeds": [7, 1, 2]}
    raw["methods"][0] |= {"tasks": ["hard"], "seeds": [7, 2]}
    raw["methods"][1]["tasks"] = ["easy"]

    assert names(raw) == ["easy-K-beams-1", "hard-Logits-7", "easy-K-beams-2", "hard-Logits-2"]


def test_a_task_of_another_kind_replaces_the_one_below(raw: dict[str, Any]) -> None:
    """Files do not meet the base's forecast, and a pruned student does not meet its model."""
    raw["tasks"]["files"] = {
        "task": {"files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}},
        "student": {"prune": {"decoder_layers": 1}},
    }
    study = check_study(raw, folder=Path("/data"))
    recipe = next(cell.recipe for cell in cells_of(study) if cell.task == "files")

    assert recipe.task.files.labeled == Path("/data/train.jsonl")  # type: ignore[union-attr]
    assert not hasattr(recipe.student, "model")


def test_a_data_set_of_the_hub_replaces_the_task_below(raw: dict[str, Any]) -> None:
    """As files do."""
    hub = {"dataset": "o/d", "splits": {"labeled": "a", "dev": "b", "test": "c"}, "source": "{s}", "target": "{t}"}
    raw["tasks"]["hub"] = {"task": {"hub": hub}}
    recipe = next(cell.recipe for cell in cells_of(check_study(raw, folder=Path("/data"))) if cell.task == "hub")

    assert recipe.task.hub.dataset == "o/d"  # type: ignore[union-attr]


def test_a_base_of_no_kind_is_kept(raw: dict[str, Any]) -> None:
    """What tasks of any kind share stands beside the kind that a task names."""
    raw["base"]["task"] = {"metrics": ["chrf"], "primary_metric": "chrf"}
    raw["tasks"]["hard"] = {"task": {"forecast": {"labeled": 7}}}
    cells = {cell.task: cell.recipe.task for cell in cells_of(check_study(raw, folder=Path()))}

    assert cells["easy"].metrics == cells["hard"].metrics == ("chrf",)
    assert cells["hard"].forecast.labeled == 7  # type: ignore[union-attr]


def test_recipes_are_meant_from_the_studys_folder(raw: dict[str, Any], tmp_path: Path) -> None:
    """A base and a task may be files; the paths inside them are meant from theirs."""
    (tmp_path / "recipes").mkdir()
    files = {"task": {"files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}}}
    (tmp_path / "recipes" / "base.yaml").write_text(yaml.safe_dump(raw["base"]))
    (tmp_path / "recipes" / "own.yaml").write_text(yaml.safe_dump(raw["base"] | files | {"precision": "bf16"}))
    del raw["name"]
    raw |= {"base": "recipes/base.yaml", "tasks": {"own": {"recipe": "recipes/own.yaml", "engine": "hf"}, "hard": {}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    study = read_study(tmp_path / "mine.yaml")
    recipes = {cell.task: cell.recipe for cell in cells_of(study)}

    assert study.name == "mine"
    assert recipes["own"].task.files.dev == tmp_path / "recipes" / "dev.jsonl"  # type: ignore[union-attr]
    assert (recipes["own"].precision, recipes["own"].engine, recipes["hard"].precision) == ("bf16", "hf", "auto")


def test_all_that_is_wrong_is_told_at_once(raw: dict[str, Any]) -> None:
    """Unknown keys with the nearest known one, values out of range, what is missing."""
    raw["sedes"] = [3]
    raw["seeds"] = [1, 1]
    raw["methods"][0] |= {"sett": {}}
    del raw["methods"][1]["stage"]
    message = refused(raw)

    assert "sedes: unknown key; did you mean 'seeds'? (known here: base, methods, name, seeds, tasks)" in message
    assert "seeds: needs at least one seed, each named once, got [1, 1]" in message
    assert "methods.0.sett: unknown key; did you mean 'set'?" in message
    assert "methods.1.stage: is missing; add it" in message


def test_a_mistake_in_a_recipe_names_its_cell(raw: dict[str, Any]) -> None:
    """An unknown key, a value out of range, an unknown method: each under its task and row, all at once."""
    raw["methods"][0]["method"] = "logits"
    raw["tasks"]["hard"] = {"training": {"epoch": 3}}
    message = refused(raw)

    assert "task easy, method 'Logits': unknown method 'logits'; known: " in message
    assert "task hard, method 'K beams': its recipe cannot be run as it is written:" in message
    assert "training.epoch: unknown key; did you mean 'epochs'?" in message
    assert "task easy, method 'K beams'" not in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tasks": {}}, "needs tasks and methods, got 0 tasks and 2 methods; add some"),
        ({"methods": []}, "needs tasks and methods, got 2 tasks and 0 methods; add some"),
        ({"seeds": []}, "seeds: needs at least one seed, each named once, got []"),
        ({"tasks": {"easy": 3}}, "tasks.easy: Input should be a valid dictionary"),
        ({"tasks": 3}, "tasks: Input should be a valid dictionary, got 3"),
        ({"base": 3}, "base: Input should be a valid dictionary, got 3"),
    ],
)
def test_a_study_without_its_parts_is_refused(raw: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    """Nothing to do is no study."""
    assert expected in refused(raw | changes)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"name": "k-Beams"}, "methods.1.name: 'K beams' is no name of its own; give each row another one"),
        ({"tasks": ["esy"]}, "methods.0.tasks: unknown task 'esy' (known here: easy, hard)"),
        ({"seeds": [9]}, "methods.0.seeds: 'Logits' runs with none of its tasks' seeds; name one of theirs"),
    ],
)
def test_rows_are_told_apart_and_run_somewhere(raw: dict[str, Any], row: dict[str, Any], expected: str) -> None:
    """Two names must not make one file, and a row without a cell would be forgotten."""
    raw["methods"][0] |= row

    assert expected in refused(raw)


def test_a_task_may_set_a_row_apart(raw: dict[str, Any]) -> None:
    """For itself alone, over what the row says everywhere; a row that the study does not have is refused."""
    raw["tasks"]["easy"]["rows"] = {"K beams": {"training": {"epochs": 5}}}
    epochs = {cell.recipe.name: cell.recipe.training.epochs for cell in cells_of(check_study(raw, folder=Path()))}

    assert (epochs["easy-K-beams-1"], epochs["hard-K-beams-1"], epochs["easy-Logits-1"]) == (5, 3, 10)
    raw["tasks"]["easy"]["rows"] = {"K beam": {}}
    assert "tasks.easy.rows: unknown row 'K beam' (known here: Logits, K beams)" in refused(raw)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"metrics": ["bleu"]}}, "task.metrics is ('bleu',), and ('bleu', 'chrf'"),
        ({"seed": 5}, "seed is 5, and 13 for 'Logits'"),
        ({"evaluation": {"resamples": 70}}, "evaluation.resamples is 70, and 1000"),
    ],
)
def test_rows_that_are_scored_otherwise_are_refused(raw: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    """They are compared pair by pair: on the same texts, by the same metrics, over the same resamples."""
    raw["methods"][1]["set"] = changes
    told = refused(raw)

    assert f"task easy, method 'K beams': {said}" in told
    assert "set it for the task, or make another task of it" in told


def test_rows_may_see_more_or_fewer_inputs(raw: dict[str, Any], tmp_path: Path) -> None:
    """What is scored stays as it is."""
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("labeled", "dev", "test")}
    raw["base"]["task"] = {"files": files}
    raw["tasks"] = {"own": None}
    raw["methods"][1]["set"] = {"task": {"labeled_inputs": 40}}

    assert len(names(raw)) == 4


def test_files_that_cannot_be_read_are_told(raw: dict[str, Any], tmp_path: Path) -> None:
    """The study's own, and the recipes it names."""
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("[1]")
    raw["base"] = "none.yaml"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))

    for name, expected in {
        "absent.yaml": r"no study at .*absent\.yaml; give the path of a YAML file",
        "bad.yaml": r"bad\.yaml is not a YAML file",
        "list.yaml": r"list\.yaml holds list, not a mapping of names to settings",
        "study.yaml": r"no recipe at .*none\.yaml; give the path of a YAML file",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            read_study(tmp_path / name)


def test_the_documented_study_is_read() -> None:
    """What users copy is a whole study without a mistake."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    study = check_study({"name": "docs", **yaml.safe_load(block)}, folder=DOCS.parent.parent / "recipes")

    assert len(list(cells_of(study))) > 2
