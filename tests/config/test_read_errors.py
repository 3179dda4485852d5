from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe, read_recipe
from understudy.errors import ConfigError


def test_all_findings_are_told_at_once(minimal: dict[str, Any]) -> None:
    """A recipe with four mistakes needs one look, not four."""
    del minimal["student"]
    wrong = minimal | {"training": {"epoch": 3, "learning_rate": "fast"}, "evaluation": {"decoding": {"kind": "bean"}}}
    with pytest.raises(ConfigError) as caught:
        check_recipe(wrong, where="my.yaml")
    first, *findings = str(caught.value).splitlines()

    assert first == "my.yaml cannot be run as it is written:"
    assert sorted(finding.split(":")[0].strip() for finding in findings) == [
        "evaluation.decoding", "student", "training.epoch", "training.learning_rate",
    ]  # fmt: skip


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML keeps the last, so that the settings of the first would be gone without a word."""
    path = tmp_path / "r.yaml"
    path.write_text("name: a\ntraining: {epochs: 3}\ntraining: {learning_rate: 1e-3}\n")
    with pytest.raises(ConfigError, match=r"line 3 gives 'training' a second time; keep one"):
        read_recipe(path)


def test_one_share_alone_is_not_set_over_a_methods(minimal: dict[str, Any]) -> None:
    """The preset's others would be gone without a word; where a recipe has shares of its own, one may be changed."""
    with pytest.raises(ConfigError, match=r"shares are one choice.*--set 'distil\.targets=\{gold: 0\.2, teacher: 0\.4"):
        check_recipe(minimal, ["distil.targets.gold=0.2"])
    own = minimal | {"distil": {"targets": {"gold": 1, "teacher": 1}}}

    assert check_recipe(own, ["distil.targets.gold=0.2"]).distil.targets.teacher == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"epoch": 3}},
            r"training\.epoch: unknown key; did you mean 'epochs'\? \(known here: gradient_accumulation_steps, ",
        ),
        ({"seed": 2**32}, r"  seed: Input should be less than 4294967296, got 4294967296"),
        (
            {"evaluation": {"resamples": 1}},
            r"  evaluation\.resamples: Input .* than or equal to 20, got 1",
        ),
        ({"trainig": {}}, r"  trainig: unknown key; did you mean 'training'\? \(known here: distil, "),
        ({"student": {"prune": {"form": "teacher"}}}, r"prune\.form: unknown key; did you mean 'from'\?"),
        ({"student": {"prune": {"decoder_layers": "few"}}}, r"  student\.prune\.decoder_layers: Input .* got 'few'"),
        (
            {"student": {"prune": {"decoder_layers": [0, "b"]}}},
            r"  student\.prune\.decoder_layers\.1: Input .* got 'b'",
        ),
        (
            {"task": {"files": {"labeled": "a", "dev": "b"}}},
            r"task: test comes from a file, .* neither is given",
        ),
        ({"task": {"files": {"labeled": 5, "dev": "b", "test": "c"}}}, r"task\.files\.labeled: .* path.*got 5"),
        ({"teacher": {}}, r"teacher: needs exactly one of the keys model, scratch, endpoint, got \{\}"),
        (
            {"student": {"model": "m", "prune": {}}},
            r"student: needs exactly one of the keys model, scratch, prune, got \{'model': 'm', 'prune': \{\}\}",
        ),
        (
            {"distil": None},
            r"distil: got None, but it is a section with keys of its own; its keys are final_finetune, ",
        ),
        (
            {"distil": {"objective": "jsd"}},
            r"distil\.objective: got 'jsd', but .* write \{kind: \.\.\.\}, where kind is one of .*cross_entropy, .*jsd",
        ),
        ({"distil": {"method": 5}}, r"distil\.method: Input should be a valid string, got 5"),
        ({"distil": {"method": "joint"}}, r"unknown method 'joint'; known: attention_relations_kd, distillm, "),
        (
            {"distil": {"objective": {"kind": "forward_kl", "label_smoothing": 0.1}}},
            r"distil\.objective\.label_smoothing: unknown key \(known here: kind, temperature\)",
        ),
        (
            {"distil": {"objective": {"kind": "kl"}}},
            r"distil\.objective: got \{'kind': 'kl'\}; kind is one of argmax_cross_entropy, cross_entropy, ",
        ),
        ({"evaluation": {"decoding": {"beams": 2}}}, r"got \{'beams': 2\}; kind is one of beam, greedy, k_beams, samp"),
        ({"training": {"learning_rate": float("inf")}}, r"learning_rate: Input should be a finite number, got inf"),
        ({"seed": -1}, r"seed: Input should be greater than or equal to 0, got -1"),
        ({"name": {"a": "b" * 200}}, r"name: .* got \{'a': 'b{73}\.\.\.$"),
    ],
)
def test_a_finding_names_the_path_and_what_was_found(
    minimal: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """The path is the one the user wrote, without the library's own words for variants and types."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no recipe at .*my\.yaml; give the path of a YAML file"),
        (b"task: [", r"my\.yaml is not a YAML file: while parsing"),
        (b"task: \xff", r"my\.yaml is not a YAML file: .*utf-8"),
        (b"- task", r"my\.yaml holds list, not a mapping of names to settings \(recipe\)"),
        (b"", r"my\.yaml holds NoneType, not a mapping"),
        (b"task: {files: {labeled: 5}}", r"my\.yaml cannot be run as it is written"),
        (b"task: {hub: {source: a, target: '{b'}}", r"task\.hub\.source: 'a' names no column"),
        (b"task: {hub: {source: a, target: '{b'}}", r"task\.hub\.target: '\{b' has a brace without its other half"),
        (b"task: {hub: {}, files: {}}", r"task: needs exactly one of the keys files, hub, forecast"),
        (
            b"task: {files: 5}\nteacher: 7",
            r"task\.files: got 5, but it is a section with keys of its own; its keys are dev, ",
        ),
    ],
)
def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message names the file and what it holds instead."""
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=message):
        read_recipe(path)
