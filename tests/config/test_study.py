import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.study import cells_of, check_study, read_study
from understudy.config.yaml_values import load_yaml
from understudy.errors import ConfigError

DOCS = Path(__file__).parent.parent.parent / "docs" / "studies.md"


@pytest.fixture
def raw(minimal: dict[str, Any]) -> dict[str, Any]:
    """Returns two tasks, two seeds, two methods."""
    base = {key: own for key, own in minimal.items() if key != "name"}
    return {
        "name": "results_table",
        "base": copy.deepcopy(base),
        "tasks": {"easy": {"task": {"forecast": {"labeled": 5}}}, "hard": None},
        "seeds": [1, 2],
        "methods": [
            {"name": "Logits", "group": "S3", "method": "logits_kd"},
            {"name": "K beams", "group": "S6", "method": "logits_pt", "set": {"training": {"epochs": 3}}},
        ],
    }


def names(raw: dict[str, Any]) -> list[str]:
    """Returns the names of a study's cells."""
    return [cell.recipe.name for cell in cells_of(check_study(raw, folder=Path()))]


def refused(raw: dict[str, Any]) -> str:
    """Returns the message with which a study is refused."""
    with pytest.raises(ConfigError) as error:
        check_study(raw, folder=Path())
    return str(error.value)


def test_cells_are_seed_major(raw: dict[str, Any]) -> None:
    """All methods on all tasks run with their first seed before any runs with its second."""
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


def test_a_cell_combines_the_base_the_task_and_the_row(raw: dict[str, Any]) -> None:
    """Each overrides the one before; the seed is the student's, and data and teacher keep theirs."""
    raw["base"]["training"] = {"epochs": 9, "learning_rate": 1e-4}
    cells = {cell.recipe.name: cell.recipe for cell in cells_of(check_study(raw, folder=Path()))}
    easy, hard = cells["easy-K-beams-2"], cells["hard-Logits-1"]

    assert (easy.task.forecast.labeled, hard.task.forecast.labeled) == (5, 1500)  # type: ignore[union-attr]
    assert (easy.training.epochs, easy.training.learning_rate, hard.training.epochs) == (3, 1e-4, 9)
    assert (easy.distil.method, hard.distil.method) == ("logits_pt", "logits_kd")
    assert (easy.student_seed, easy.seed) == (2, 13)


def test_rows_and_tasks_select_where_they_run(raw: dict[str, Any]) -> None:
    """A task may have its own seeds; a row may run on some tasks and seeds only."""
    raw["tasks"]["hard"] = {"seeds": [7, 1, 2]}
    raw["methods"][0] |= {"tasks": ["hard"], "seeds": [7, 2]}
    raw["methods"][1]["tasks"] = ["easy"]

    assert names(raw) == ["easy-K-beams-1", "hard-Logits-7", "easy-K-beams-2", "hard-Logits-2"]


def test_a_task_of_another_kind_replaces_the_one_below(raw: dict[str, Any]) -> None:
    """Files replace the base's forecast, and a pruned student replaces its model."""
    raw["tasks"]["files"] = {
        "task": {"files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}},
        "student": {"prune": {"decoder_layers": 1}},
    }
    study = check_study(raw, folder=Path("/data"))
    recipe = next(cell.recipe for cell in cells_of(study) if cell.task == "files")

    assert recipe.task.files.labeled == Path("/data/train.jsonl")  # type: ignore[union-attr]
    assert not hasattr(recipe.student, "model")


def test_a_hub_data_set_replaces_the_task_below(raw: dict[str, Any]) -> None:
    """A hub task replaces the base's forecast, as files do."""
    hub = {"dataset": "o/d", "splits": {"labeled": "a", "dev": "b", "test": "c"}, "source": "{s}", "target": "{t}"}
    raw["tasks"]["hub"] = {"task": {"hub": hub}}
    recipe = next(cell.recipe for cell in cells_of(check_study(raw, folder=Path("/data"))) if cell.task == "hub")

    assert recipe.task.hub.dataset == "o/d"  # type: ignore[union-attr]


def test_a_base_without_a_kind_is_kept(raw: dict[str, Any]) -> None:
    """Settings that tasks of any kind share are combined with the kind that a task names."""
    raw["base"]["task"] = {"metrics": ["chrf"], "primary_metric": "chrf"}
    raw["tasks"]["hard"] = {"task": {"forecast": {"labeled": 7}}}
    cells = {cell.task: cell.recipe.task for cell in cells_of(check_study(raw, folder=Path()))}

    assert cells["easy"].metrics == cells["hard"].metrics == ("chrf",)
    assert cells["hard"].forecast.labeled == 7  # type: ignore[union-attr]


def test_paths_of_recipes_are_relative_to_the_studys_folder(raw: dict[str, Any], tmp_path: Path) -> None:
    """A base and a task may be files; paths inside them are relative to those files."""
    (tmp_path / "recipes").mkdir()
    files = {"task": {"files": {"labeled": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}}}
    (tmp_path / "recipes" / "base.yaml").write_text(yaml.safe_dump(raw["base"]))
    (tmp_path / "recipes" / "own.yaml").write_text(yaml.safe_dump(raw["base"] | files | {"precision": "bf16"}))
    del raw["name"]
    raw |= {"base": "recipes/base.yaml", "tasks": {"own": {"recipe": "recipes/own.yaml", "engine": "hf"}, "hard": {}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    study = read_study(str(tmp_path / "mine.yaml"))
    recipes = {cell.task: cell.recipe for cell in cells_of(study)}

    assert study.name == "mine"
    assert recipes["own"].task.files.dev == tmp_path / "recipes" / "dev.jsonl"  # type: ignore[union-attr]
    assert (recipes["own"].precision, recipes["own"].engine, recipes["hard"].precision) == ("bf16", "hf", "auto")


def test_all_findings_are_reported_together(raw: dict[str, Any]) -> None:
    """Unknown keys with the nearest known one, invalid values, missing keys."""
    raw["sedes"] = [3]
    raw["seeds"] = [1, 1]
    raw["methods"][0] |= {"sett": {}}
    del raw["methods"][1]["group"]
    message = refused(raw)

    assert "sedes: unknown key; did you mean 'seeds'? (known here: base, methods, name, seeds, tasks)" in message
    assert re.search(r"  seeds: has a seed more than once: \[1, 1\]", message)
    assert "methods.entry 1.sett: unknown key; did you mean 'set'?" in message
    assert "methods.entry 2.group: is missing" in message


def test_an_old_key_of_a_row_is_refused_with_the_new_one(raw: dict[str, Any]) -> None:
    """The path has the row's index."""
    raw["methods"][1]["stage"] = raw["methods"][1].pop("group")

    message = refused(raw)
    assert "methods.entry 2.stage: was renamed; write 'group'" in message
    assert "missing" not in message


def test_a_finding_in_a_recipe_names_its_cell(raw: dict[str, Any]) -> None:
    """Unknown keys and methods are reported under their task and row, all together."""
    raw["methods"][0]["method"] = "logits"
    raw["tasks"]["hard"] = {"training": {"epoch": 3}}
    message = refused(raw)

    assert re.search(r"task easy, method 'Logits': .*\n    distil\.method: unknown method 'logits'; known: ", message)
    assert re.search(r"task hard, method 'K beams': .*\n    training\.epoch: unknown key", message)
    assert "did you mean 'epochs'?" in message
    assert "task easy, method 'K beams'" not in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tasks": {}}, "got 0 tasks and 2 methods; add"),
        ({"methods": []}, "got 2 tasks and 0 methods; add"),
        ({"seeds": []}, "seeds: needs at least one seed, got none"),
        ({"tasks": {"easy": 3}}, "tasks.easy: expected a section, got 3; its keys are recipe, rows, seeds"),
        ({"tasks": 3}, "tasks: expected keys with values, got 3"),
        ({"base": 3}, "base: expected keys with values, got 3"),
    ],
)
def test_a_study_without_its_parts_is_refused(raw: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    """A study has tasks, methods and seeds, each of its type."""
    assert expected in refused(raw | changes)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"name": "k-Beams"}, "methods.entry 2.name: 'K beams' gives the same file name as entry 1"),
        ({"tasks": ["esy"]}, "methods.entry 1.tasks: unknown task 'esy'; known: easy, hard; did you mean 'easy'?"),
        ({"seeds": [9]}, "methods.entry 1.seeds: 'Logits' has no seed in common with its tasks"),
    ],
)
def test_rows_need_unique_names_and_at_least_one_cell(raw: dict[str, Any], row: dict[str, Any], expected: str) -> None:
    """Names must differ as file names, and a row without a cell would be dropped silently."""
    raw["methods"][0] |= row

    assert expected in refused(raw)


def test_a_task_may_override_settings_of_a_row(raw: dict[str, Any]) -> None:
    """The override applies to this task only; an unknown row is refused."""
    raw["tasks"]["easy"]["rows"] = {"K beams": {"training": {"epochs": 5}}}
    epochs = {cell.recipe.name: cell.recipe.training.epochs for cell in cells_of(check_study(raw, folder=Path()))}

    assert (epochs["easy-K-beams-1"], epochs["hard-K-beams-1"], epochs["easy-Logits-1"]) == (5, 3, 10)
    raw["tasks"]["easy"]["rows"] = {"K beam": {}}
    assert "tasks.easy.rows: unknown row 'K beam'; known: K beams, Logits; did you mean" in refused(raw)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"task": {"metrics": ["bleu"]}}, r"task\.metrics is \('bleu',\), but \('bleu', 'chrf'.*for 'Logits'"),
        ({"seed": 5}, r"seed is 5, but 13 for 'Logits'"),
        ({"evaluation": {"resamples": 70}}, r"evaluation\.resamples is 70, but 1000 for 'Logits'"),
    ],
)
def test_rows_that_are_scored_differently_are_refused(
    raw: dict[str, Any], changes: dict[str, Any], finding: str
) -> None:
    """They are compared in pairs: on the same texts, by the same metrics, over the same resamples."""
    raw["methods"][1]["set"] = changes

    assert re.search(f"task easy, method 'K beams': {finding}.*set it for the whole task", refused(raw))


def test_rows_may_use_more_or_fewer_inputs(raw: dict[str, Any], tmp_path: Path) -> None:
    """The scored inputs stay the same."""
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("labeled", "dev", "test")}
    raw["base"]["task"] = {"files": files}
    raw["tasks"] = {"own": None}
    raw["methods"][1]["set"] = {"task": {"labeled_inputs": 40}}

    assert len(names(raw)) == 4


def test_unreadable_files_are_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    """The study file itself, and the recipe files it names."""
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("[1]")
    raw["base"] = "none.yaml"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))

    for name, expected in {
        "absent.yaml": r"no study at .*absent\.yaml; give the path of a YAML file",
        "bad.yaml": r"bad\.yaml is not valid YAML",
        "list.yaml": r"list\.yaml contains a list, not a mapping",
        "study.yaml": r"no recipe at .*none\.yaml; give the path of a YAML file",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            read_study(tmp_path / name)


def test_the_documented_study_is_valid() -> None:
    """Users copy this study from the docs."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    settings = load_yaml(block, "docs")
    assert isinstance(settings, dict)
    study = check_study({"name": "docs", **settings}, folder=DOCS.parent.parent / "recipes")

    assert len(list(cells_of(study))) > 2
