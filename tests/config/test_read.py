from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.model_sections import (
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
)
from understudy.config.objectives import CrossEntropy, Custom, ForwardKL
from understudy.config.read import check_recipe, merge, read_recipe, to_yaml
from understudy.config.task import FilesTask, HubTask, Splits
from understudy.errors import ConfigError

SAMPLE = """
task:
  files: {labeled: train.jsonl, unlabeled: inputs.jsonl, dev: dev.jsonl, test: test.jsonl}
  prompt: "summarize: {source}"
  metrics: [bleu, rouge, chrf]
teacher:
  model: google-t5/t5-large
  finetune: {learning_rate: 5e-5, epochs: 15}
student:
  prune: {from: teacher, decoder_layers: 2}
pseudo_targets: {inputs: [labeled, unlabeled], per_input: 8, decoding: {kind: sampling, top_p: 0.95}}
distil:
  method: joint_teaching
"""
SIZES = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 8}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Writes a typical recipe to a file and returns its path."""
    path = tmp_path / "headlines.yaml"
    path.write_text(SAMPLE)
    return path


def test_a_recipe_of_twelve_lines_is_complete(sample: Path) -> None:
    """The name of the run is the file's, and the method provides the settings that are left out."""
    recipe = read_recipe(sample)

    assert recipe.name == "headlines"
    assert isinstance(recipe.teacher, PretrainedTeacher)
    assert recipe.teacher.finetune is not None
    assert (recipe.teacher.finetune.learning_rate, recipe.teacher.finetune.epochs) == (5e-5, 15)
    assert isinstance(recipe.student, PrunedStudent)
    assert recipe.student.prune.decoder_layers == 2
    assert recipe.distil.targets.model_dump() == {"gold": 0.1, "teacher": 0.45, "student": 0.45}
    assert recipe.distil.objective == ForwardKL()


def test_the_printed_recipe_reads_back_the_same(sample: Path) -> None:
    """The output of `understudy show` describes the same run from any folder."""
    recipe = read_recipe(sample)
    elsewhere = sample.parent / "elsewhere" / "other.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(to_yaml(recipe))

    assert read_recipe(elsewhere) == recipe


def test_a_recipe_from_a_relative_path_reads_back_the_same(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed paths are absolute: the recipe in a run's folder is the recipe of the run."""
    monkeypatch.chdir(sample.parent.parent)
    recipe = read_recipe(Path(sample.parent.name) / sample.name)
    elsewhere = sample.parent / "runs" / "recipe.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(to_yaml(recipe))

    assert read_recipe(elsewhere) == recipe == read_recipe(sample)


def test_a_path_may_be_a_string(sample: Path) -> None:
    """The recipe is the same as with a Path."""
    assert read_recipe(str(sample)) == read_recipe(sample)


def test_every_default_is_printed(sample: Path) -> None:
    """The output of `show` contains every setting."""
    printed = yaml.safe_load(to_yaml(read_recipe(sample)))

    assert printed["training"]["schedule"] == "linear"
    assert printed["student"]["prune"] == {
        "from": "teacher",
        "encoder_layers": None,
        "decoder_layers": 2,
        "layers": None,
        "feed_forward": None,
    }
    assert printed["distil"]["student_samples"]["decoding"]["kind"] == "sampling"


def test_paths_are_relative_to_the_recipes_folder(sample: Path) -> None:
    """This holds for files and local checkpoints; absolute paths and null stay as they are."""
    (sample.parent / "my-teacher").mkdir()
    text = SAMPLE.replace("google-t5/t5-large", "my-teacher").replace("dev.jsonl", "/data/dev.jsonl")
    sample.write_text(text.replace("unlabeled: inputs.jsonl", "unlabeled: null"))
    recipe = read_recipe(sample)

    assert isinstance(recipe.task, FilesTask)
    assert recipe.task.files == Splits(
        labeled=sample.parent / "train.jsonl", dev=Path("/data/dev.jsonl"), test=sample.parent / "test.jsonl"
    )
    assert isinstance(recipe.teacher, PretrainedTeacher)
    assert recipe.teacher.model == str(sample.parent / "my-teacher")


def test_a_data_set_in_the_recipes_folder_is_a_path(minimal: dict[str, Any], tmp_path: Path) -> None:
    """A name is a path only if such a folder exists; other names are left for the hub."""
    (tmp_path / "own").mkdir()
    hub = {"splits": {"labeled": "train", "dev": "dev", "test": "test"}, "source": "{text}", "target": "{summary}"}
    found = []
    for dataset in ("own", "rajpurkar/squad"):
        task = {"hub": {"dataset": dataset, **hub}}
        (tmp_path / "my.yaml").write_text(yaml.safe_dump({**minimal, "task": task}))
        recipe = read_recipe(tmp_path / "my.yaml")
        assert isinstance(recipe.task, HubTask)
        found.append(recipe.task.hub.dataset)

    assert found == [str(tmp_path / "own"), "rajpurkar/squad"]


def test_a_hub_name_is_not_a_path(sample: Path) -> None:
    """Without such a folder next to the recipe, the name is not changed."""
    recipe = read_recipe(sample)

    assert isinstance(recipe.teacher, PretrainedTeacher)
    assert recipe.teacher.model == "google-t5/t5-large"


def test_overrides_replace_settings_of_the_file(sample: Path) -> None:
    """A value is parsed as YAML, 3e-4 is a number, and a section that is not in the file is created."""
    recipe = read_recipe(
        sample,
        [
            "training.learning_rate=3e-4",
            "distil.student_samples.rounds_per_epoch=5",
            "evaluation.decoding={kind: greedy}",
            "task.metrics=[bleu, nll]",
            "teacher.finetune=null",
        ],
    )

    assert recipe.training.learning_rate == 3e-4
    assert recipe.distil.student_samples.rounds_per_epoch == 5
    assert recipe.evaluation.decoding.kind == "greedy"
    assert recipe.task.metrics == ("bleu", "nll")
    assert isinstance(recipe.teacher, PretrainedTeacher | ScratchTeacher)
    assert recipe.teacher.finetune is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set expects key=value, got 'training.epochs'; for example"),
        ("=3", "--set expects key=value, got '=3'"),
        ("name.first=3", "--set name.first: name is 'small', which is not a section"),
        ("task.metrics=[bleu", r"--set task.metrics: '\[bleu' is not valid YAML: while parsing"),
        ("trainig.epochs=3", "trainig: unknown key; did you mean 'training'"),
    ],
)
def test_an_invalid_override_is_refused(minimal: dict[str, Any], override: str, message: str) -> None:
    """The message repeats the override."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal, [override])


def test_overrides_do_not_change_the_callers_data(minimal: dict[str, Any]) -> None:
    """The same plain data can be checked again with other overrides."""
    check_recipe(minimal, ["task.forecast.labeled=7"])

    assert minimal["task"] == {"forecast": {}}


def test_settings_of_the_recipe_override_the_preset(minimal: dict[str, Any]) -> None:
    """A key replaces the preset's key; the rest of the section keeps the preset's values."""
    recipe = check_recipe(minimal | {"pseudo_targets": {"per_input": 3, "decoding": {"top_p": 0.5}}})

    assert recipe.pseudo_targets.per_input == 3
    assert recipe.pseudo_targets.inputs == ("labeled", "unlabeled")
    assert recipe.pseudo_targets.decoding.model_dump() == {
        "kind": "sampling", "temperature": 1.0, "top_k": 50, "top_p": 0.5,
    }  # fmt: skip


def test_targets_are_replaced_as_a_whole(minimal: dict[str, Any]) -> None:
    """`targets: {gold: 1}` means gold only, without the preset's teacher and student shares."""
    recipe = check_recipe(minimal | {"distil": {"targets": {"gold": 1}}})

    assert recipe.distil.targets.model_dump() == {"gold": 1, "teacher": 0, "student": 0}


def test_another_kind_replaces_the_variant() -> None:
    """Settings of the preset's variant are not mixed into another kind; the same kind is merged."""
    below = {"decoding": {"kind": "beam", "beams": 4}}

    assert merge(below, {"decoding": {"kind": "greedy"}}) == {"decoding": {"kind": "greedy"}}
    assert merge(below, {"decoding": {"kind": "beam", "length_penalty": 2}}) == {
        "decoding": {"kind": "beam", "beams": 4, "length_penalty": 2}
    }


def test_another_objective_replaces_the_presets(minimal: dict[str, Any]) -> None:
    """The preset's forward KL leaves no settings behind."""
    objective = {"kind": "cross_entropy", "label_smoothing": 0.1}
    recipe = check_recipe(minimal | {"distil": {"objective": objective}})

    assert recipe.distil.objective == CrossEntropy(label_smoothing=0.1)
    assert not recipe.distil.needs_teacher_logits


def test_a_variant_is_selected_by_its_key(minimal: dict[str, Any]) -> None:
    """`scratch` makes a student from scratch, `model` a pretrained one; there is no kind key."""
    recipe = check_recipe(minimal | {"student": {"scratch": SIZES}})

    assert isinstance(recipe.student, ScratchStudent)
    assert isinstance(check_recipe(minimal).student, PretrainedStudent)


def test_code_that_a_recipe_names_is_found_from_its_folder(tmp_path: Path) -> None:
    """Every key that may name a file does; names of the table and of installed modules stay as they are."""
    path = tmp_path / "own.yaml"
    path.write_text(
        """
task:
  files: {labeled: l.jsonl, unlabeled: u.jsonl, dev: d.jsonl, test: t.jsonl}
  checker: own/checks.py:numbers
  metrics: [bleu, "own/metrics.py:exact", "package.metrics:other", slot_error_rate]
  primary_metric: own/metrics.py:exact
teacher: {model: teacher}
student: {model: student}
distil:
  method: joint_teaching
  objective: {kind: custom, function: "own/losses.py:first"}
  student_samples_objective: {kind: custom, function: "../losses.py:second"}
"""
    )
    recipe = read_recipe(path)
    folder = tmp_path.resolve()

    assert isinstance(recipe.task, FilesTask)
    assert recipe.task.checker == f"{folder}/own/checks.py:numbers"
    assert recipe.task.metrics == (
        "bleu",
        f"{folder}/own/metrics.py:exact",
        "package.metrics:other",
        "slot_error_rate",
    )
    assert recipe.task.primary_metric == f"{folder}/own/metrics.py:exact"
    assert [one.function for one in recipe.distil.objectives if isinstance(one, Custom)] == [
        f"{folder}/own/losses.py:first",
        f"{folder.parent}/losses.py:second",
    ]
    elsewhere = tmp_path / "runs" / "recipe.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(to_yaml(recipe))
    assert read_recipe(elsewhere) == recipe


def test_paths_of_overrides_start_at_the_current_folder(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are absolute in the recipe, which is read again from the folder of the run."""
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(sample, ["task.metrics=[bleu, own.py:exact]", "task.primary_metric=own.py:exact"])

    assert recipe.task.metrics == ("bleu", f"{tmp_path.resolve()}/own.py:exact")
    assert recipe.task.primary_metric == recipe.task.metrics[1]


@pytest.mark.parametrize("name", ["store", "Store"])
def test_a_run_cannot_have_the_name_of_the_stage_cache(minimal: dict[str, Any], name: str) -> None:
    """Its files would lie among the stages."""
    with pytest.raises(ConfigError, match=rf"name is '{name}', the folder of the stage cache.*choose another"):
        check_recipe(minimal, [f"name={name}"])
