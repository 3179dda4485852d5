import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.endpoint import Endpoint
from understudy.config.read import check_recipe, read_endpoint, read_recipe
from understudy.errors import ConfigError

SIZES = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16}


def findings(raw: dict[str, Any]) -> list[str]:
    """Returns the lines with which a recipe is refused, without the first, which names the recipe."""
    with pytest.raises(ConfigError) as error:
        check_recipe(raw, where="my.yaml")
    head, *lines = str(error.value).splitlines()
    assert head.startswith("my.yaml")
    return [line.strip() for line in lines]


def test_all_findings_are_reported_together(minimal: dict[str, Any]) -> None:
    """A recipe with four mistakes is corrected in one pass, not four."""
    del minimal["student"]
    wrong = minimal | {"training": {"epoch": 3, "learning_rate": "fast"}, "evaluation": {"decoding": {"kind": "bean"}}}

    assert sorted(finding.split(":")[0] for finding in findings(wrong)) == [
        "evaluation.decoding", "student", "training.epoch", "training.learning_rate",
    ]  # fmt: skip


def test_invalid_values_and_conflicts_between_sections_are_reported_together(minimal: dict[str, Any]) -> None:
    """An invalid training section does not hide a conflict between task and teacher sections that are valid."""
    wrong = minimal | {
        "task": {"forecast": {}, "primary_metric": "wer"},
        "teacher": {"scratch": {**SIZES, "dropout": 0}},
        "training": {"epoch": 3},
        "distil": {"method": "noisy_kd"},
    }
    unknown_key, metric, dropout = findings(wrong)

    assert unknown_key.startswith("training.epoch: unknown key")
    assert metric.startswith("task.primary_metric is 'wer'")
    assert "teacher.scratch.dropout is 0" in dropout


def test_all_conflicts_inside_a_section_are_reported(minimal: dict[str, Any]) -> None:
    """Each has its own line under the section's path."""
    changes = {"objective": {"kind": "cross_entropy"}, "relations": {"of": "hidden"}, "enable_teacher_dropout": True}
    found = findings(minimal | {"distil": changes})

    assert len(found) == 3
    assert all(finding.startswith("distil: ") for finding in found)
    assert "teacher_logprobs={kind: dense}" in found[2]


def test_an_unknown_method_does_not_hide_other_findings(minimal: dict[str, Any]) -> None:
    """The sections that the method would provide are not checked against another method."""
    changes = {"distil": {"method": "joint"}, "pseudo_targets": {"decoding": {"beams": 3}}, "seed": -1}
    method, seed = findings(minimal | changes)

    assert method.startswith("distil.method: unknown method 'joint'; known: attention_relations_kd, distillm, ")
    assert seed.startswith("seed: ")


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("distil", "noisy_student", "enable_student_dropout"),
        ("distil", "noisy_teacher", "enable_teacher_dropout"),
        ("distil", "on_student_text", "student_samples_objective"),
        ("distil", "student_text", "student_samples"),
        ("distil", "teacher_signal", "teacher_logprobs"),
        ("distil.final_finetune", "accumulate", "gradient_accumulation_steps"),
        ("distil.final_finetune", "keep", "keep_weights"),
        ("evaluation", "rounds", "repeats"),
        ("pseudo_targets", "keep", "select"),
        ("student.finetune", "accumulate", "gradient_accumulation_steps"),
        ("student.finetune", "keep", "keep_weights"),
        ("teacher", "pieces", "vocab_size"),
        ("teacher.finetune", "accumulate", "gradient_accumulation_steps"),
        ("teacher.finetune", "keep", "keep_weights"),
        ("training", "accumulate", "gradient_accumulation_steps"),
        ("training", "keep", "keep_weights"),
    ],
)
def test_an_old_key_is_refused_with_the_new_one(minimal: dict[str, Any], section: str, old: str, new: str) -> None:
    """The old key is known nowhere, and the new one is known in its place."""
    scratch = minimal | {"teacher": {"scratch": SIZES}}
    with pytest.raises(ConfigError, match=rf"  {section}\.{old}: was renamed; write '{new}'"):
        check_recipe(scratch, [f"{section}.{old}=1"])
    with pytest.raises(ConfigError) as error:
        check_recipe(scratch, [f"{section}.{new}=-1"])
    assert "unknown key" not in str(error.value)


def test_a_renamed_method_is_refused_with_its_new_name(minimal: dict[str, Any]) -> None:
    """The finding has the path of the setting."""
    (finding,) = findings(minimal | {"distil": {"method": "joint_teaching_quiet"}})

    assert finding.startswith("distil.method: ")
    assert "joint_teaching_swa" in finding


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        (
            "training.targets_per_source=automatic",
            "targets_per_source: expected a whole number such as 4 or 'auto', got",
        ),
        ("training.targets_per_source=0", "targets_per_source: must be 1 to 10,000, .*; got 0; or write 'auto'"),
        ("training.lora={target_modules: 3}", r"target_modules: expected a list such as .* or 'all-linear', got 3"),
        ("training.lora={target_modules: [q, 3]}", r"target_modules\.entry 2: expected text .*, got 3"),
        ("student={model: m, template: x}", "template: .* 'auto', 'separator', 'none' or 'chat', got 'x'"),
    ],
)
def test_a_value_that_is_neither_of_a_type_nor_a_word_has_one_finding(
    minimal: dict[str, Any], override: str, finding: str
) -> None:
    """It says what both would be; the parts of a list are not also compared with the word."""
    with pytest.raises(ConfigError, match=finding) as error:
        check_recipe(minimal, [override], where="my.yaml")

    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("distil.teacher_logprobs.top=8", "for top also set distil.teacher_logprobs.kind=sparse"),
        ("distil.student_samples.share.step=0.2", "for step also set distil.student_samples.share.kind=adaptive"),
        ("evaluation.decoding.beams=3", "for beams also set evaluation.decoding.kind=beam or k_beams"),
    ],
)
def test_a_section_without_kind_is_refused_with_the_kinds_that_have_its_keys(
    minimal: dict[str, Any], override: str, remedy: str
) -> None:
    """The remedy works; no kind is named for keys that none has."""
    with pytest.raises(ConfigError, match=re.escape(remedy)):
        check_recipe(minimal, [override])
    with pytest.raises(ConfigError, match=r"kind is one of dense, sparse$"):
        check_recipe(minimal, ["distil.teacher_logprobs.topp=0.9"])

    check_recipe(minimal, [override, remedy.rpartition(" set ")[2].split()[0]])


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    """YAML would keep the last one and drop the settings of the first without a warning."""
    path = tmp_path / "r.yaml"
    path.write_text("name: a\ntraining: {epochs: 3}\ntraining: {learning_rate: 1e-3}\n")
    with pytest.raises(ConfigError, match=r"line 3 .*'training'"):
        read_recipe(path)


def test_a_single_share_does_not_override_the_methods_shares(minimal: dict[str, Any]) -> None:
    """The preset's other shares would become 0; where the recipe sets shares, one of them may be changed."""
    with pytest.raises(ConfigError, match=r"--set 'distil\.targets=\{gold: 0\.2, teacher: 0\.4, student: 0\.4\}'"):
        check_recipe(minimal, ["distil.targets.gold=0.2"])
    recipe = minimal | {"distil": {"targets": {"gold": 1, "teacher": 1}}}

    assert check_recipe(recipe, ["distil.targets.gold=0.2"]).distil.targets.teacher == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"epoch": 3}},
            r"training\.epoch: unknown key; did you mean 'epochs'\? \(known here: batch_tokens,",
        ),
        ({"seed": 2**32}, r"  seed: .*less than 4294967296, got 4294967296"),
        ({"evaluation": {"resamples": 1}}, r"  evaluation\.resamples: must be 20 to 100,000, .* got 1"),
        ({"trainig": {}}, r"  trainig: unknown key; did you mean 'training'\? \(known here: distil, "),
        ({"student": {"prune": {"form": "teacher"}}}, r"prune\.form: unknown key; did you mean 'from'\?"),
        ({"student": {"prune": {"decoder_layers": "few"}}}, r"  student\.prune\.decoder_layers: .* got 'few'"),
        (
            {"student": {"prune": {"decoder_layers": [0, "b"]}}},
            r"  student\.prune\.decoder_layers\.entry 2: .* 'b'",
        ),
        ({"task": {"files": {"labeled": "a", "dev": "b"}}}, r"  task: test .*neither is given"),
        ({"task": {"files": {"labeled": 5, "dev": "b", "test": "c"}}}, r"task\.files\.labeled: .* path.*got 5"),
        ({"teacher": {}}, r"teacher: needs exactly one of the keys model, scratch, endpoint, got \{\}"),
        (
            {"student": {"model": "m", "prune": {}}},
            r"student: needs exactly one of the keys model, scratch, prune, got \{'model': 'm', 'prune': \{\}\}",
        ),
        ({"distil": None}, r"distil: expected a section, got None; its keys are enable_student_dropout, "),
        (
            {"distil": {"objective": "jsd"}},
            r"distil\.objective: expected a section, got 'jsd'; .*kind is one of .*cross_entropy, .*jsd",
        ),
        ({"distil": {"method": 5}}, r"distil\.method: expected text .*, got 5"),
        (
            {"distil": {"objective": {"kind": "forward_kl", "label_smoothing": 0.1}}},
            r"distil\.objective\.label_smoothing: unknown key \(known here: kind, temperature\)",
        ),
        (
            {"distil": {"objective": {"kind": "kl"}}},
            r"distil\.objective: got \{'kind': 'kl'\}; kind is one of argmax_cross_entropy, cross_entropy, ",
        ),
        ({"evaluation": {"decoding": {"beams": 2}}}, r"got \{'beams': 2\}; kind is one of beam, greedy, k_beams, samp"),
        ({"training": {"learning_rate": float("inf")}}, r"learning_rate: .*finite.*, got inf"),
        ({"seed": -1}, r"seed: .*equal to 0, got -1"),
        ({"name": {"a": "b" * 200}}, r"name: .* got \{'a': 'b{73}\.\.\.$"),
    ],
)
def test_a_finding_shows_the_path_and_the_value(minimal: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    """The path is the one the user wrote, without pydantic's names of variants and types."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no recipe at .*my\.yaml; give the path of a YAML file"),
        (b"task: [", r"my\.yaml is not valid YAML: while parsing"),
        (b"task: \xff", r"my\.yaml is not UTF-8 text \(byte 0xff at position 6\); save the file as UTF-8"),
        (b"- task", r"my\.yaml contains a list, not a mapping .*recipe"),
        (b"", r"my\.yaml contains nothing, not a mapping"),
        (b"task: {files: {labeled: 5}}", r"my\.yaml .*\n  task\.files\.labeled: "),
        (b"task: {hub: {source: a, target: '{b'}}", r"task\.hub\.source: 'a' names no column"),
        (b"task: {hub: {source: a, target: '{b'}}", r"task\.hub\.target: '\{b' .*brace"),
        (b"task: {hub: {}, files: {}}", r"task: needs exactly one of the keys files, hub, forecast"),
        (b"task: {files: 5}\nteacher: 7", r"task\.files: expected a section, got 5; its keys are dev, "),
    ],
)
def test_a_file_without_a_valid_recipe_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message names the file and what it contains instead."""
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=message):
        read_recipe(path)


def test_findings_of_an_endpoint_file_are_reported_together(tmp_path: Path) -> None:
    """An endpoint file is read like a recipe: all findings with path and value, overrides applied."""
    path = tmp_path / "endpoint.yaml"
    path.write_text(yaml.safe_dump({"model": "m", "max_tokns": 5, "per_input": 0}))
    with pytest.raises(ConfigError, match=r"endpoint\.yaml") as error:
        read_endpoint(str(path))

    assert "max_tokns: unknown key; did you mean 'max_tokens'?" in str(error.value)
    assert "got 0" in str(error.value)
    path.write_text("model: m")
    assert read_endpoint(str(path), ["per_input=3"]) == Endpoint(model="m", per_input=3)


def test_a_name_that_is_too_long_for_a_file_is_refused(minimal: dict[str, Any]) -> None:
    """Letters of several bytes count as such: systems limit the bytes of a file's name."""
    assert check_recipe(minimal | {"name": "a" * 200}).name == "a" * 200
    assert findings(minimal | {"name": "aé" + "ü" * 100}) == [
        "name: has 203 bytes; a file's name may have 200, choose a shorter one"
    ]
