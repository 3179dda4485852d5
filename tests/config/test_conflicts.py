from typing import Any

import pytest

from understudy.config.conflicts import recipe_conflicts
from understudy.config.read import check_recipe, merge
from understudy.errors import ConfigError

SIZES = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}


@pytest.fixture
def with_endpoint() -> dict[str, Any]:
    """Returns a valid recipe whose teacher is an endpoint, without any labels."""
    return {
        "name": "without-labels",
        "task": {
            "files": {"unlabeled": "inputs.jsonl"},
            "held_out": {"dev": 6, "test": 8},
            "metrics": ["bleu", "nll"],
        },
        "teacher": {"endpoint": {"model": "m", "top_logprobs": 2}},
        "student": {"scratch": SIZES},
        "pseudo_targets": {"per_input": 2},
        "distil": {"method": "extreme_logits"},
    }


def refused(recipe: dict[str, Any]) -> str:
    """Returns the message with which a recipe is refused."""
    with pytest.raises(ConfigError) as error:
        check_recipe(recipe)
    return str(error.value)


def test_an_endpoint_without_labels_is_supported(with_endpoint: dict[str, Any]) -> None:
    """The tests below change one setting each."""
    recipe = check_recipe(with_endpoint)

    assert list(recipe_conflicts(dict(recipe))) == []


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"distil": {"method": "joint_teaching"}}, ["texts of the student", "extreme_fine_tune or extreme_logits"]),
        ({"distil": {"generations": 2}}, ["texts of the student", "extreme_fine_tune or extreme_logits"]),
        ({"distil": {"targets": {"gold": 1, "teacher": 1}}}, ["task.files has no labeled file", "{teacher: 1}"]),
        (
            {"distil": {"initial_weights": "fine_tuned"}},
            ["no labeled file", "leave final_finetune and initial_weights"],
        ),
        ({"distil": {"targets": {"gold": 1}}}, ["distil.targets.teacher is 0", "extreme_fine_tune"]),
        ({"distil": {"final_finetune": {}}}, ["distil.final_finetune is not supported", "leave it out"]),
        ({"distil": {"teacher_logprobs": {"kind": "dense"}}}, ["teacher_logprobs is dense", "{kind: sparse}"]),
        (
            {"distil": {"teacher_logprobs": {"kind": "sparse", "weights": "bf16"}}},
            ["weights is bf16", "leave weights out"],
        ),
        ({"task": {"primary_metric": "nll"}}, ["task.primary_metric is nll", "bleu"]),
        (
            {"pseudo_targets": {"per_input": 1, "decoding": {"kind": "greedy"}}},
            ["pseudo_targets.decoding is greedy", "references of dev and test", "files.dev and files.test"],
        ),
        ({"pseudo_targets": {"inputs": ["labeled"]}}, ["pseudo_targets.inputs includes labeled", "[unlabeled]"]),
        ({"pseudo_targets": {"compute_type": "int8"}}, ["compute_type is int8", "an endpoint chooses its own"]),
        (
            {"pseudo_targets": {"decoding": {"kind": "k_beams", "beams": 2}}},
            ["pseudo_targets.decoding is k_beams", "{kind: greedy}"],
        ),
        (
            {"pseudo_targets": {"decoding": {"kind": "sampling", "top_k": 5}}},
            ["pseudo_targets.decoding is sampling with top_k=5", "top_k: 0"],
        ),
        ({"pseudo_targets": {"select": {"kind": "mbr", "n": 1}}}, ["pseudo_targets.select is mbr", "leave"]),
        ({"teacher": {"endpoint": {"top_logprobs": 0}}}, ["top_logprobs is 0", "extreme_fine_tune"]),
    ],
)
def test_settings_that_an_endpoint_does_not_support_are_refused(
    with_endpoint: dict[str, Any], changes: dict[str, Any], facts: list[str]
) -> None:
    """They are found before the first request; the message names the setting and a remedy."""
    message = refused(merge(with_endpoint, changes))

    assert [fact for fact in facts if fact not in message] == []


def test_an_endpoint_cannot_be_pruned(with_endpoint: dict[str, Any]) -> None:
    """The message names the students that are possible."""
    assert "student.prune" in (message := refused({**with_endpoint, "student": {"prune": {}}}))
    assert "use model or scratch" in message


@pytest.mark.parametrize(
    ("prune", "fact"),
    [
        ({"decoder_layers": [0, 3]}, "decoder_layers lists them ([0, 3]); set decoder_layers to their number, 2"),
        ({"encoder_layers": [1], "decoder_layers": 2}, "encoder_layers lists them ([1])"),
        ({}, "encoder_layers and decoder_layers keep all layers; set one of them"),
    ],
)
def test_layers_by_loss_need_something_to_choose(
    with_endpoint: dict[str, Any], prune: dict[str, Any], fact: str
) -> None:
    """Listed layers are a choice already, and all layers leave none; a fixed choice has neither conflict."""
    message = refused({**with_endpoint, "student": {"prune": {**prune, "layers": "by_loss"}}})

    assert fact in message
    assert "layers is by_loss" not in refused({**with_endpoint, "student": {"prune": {**prune, "layers": "spread"}}})


def test_a_local_teacher_needs_labels(with_endpoint: dict[str, Any]) -> None:
    """Held-out inputs get references only from an endpoint."""
    message = refused({**with_endpoint, "teacher": {"scratch": SIZES}, "distil": {"method": "logits_kd"}})

    assert "files.labeled, files.dev and files.test" in message
    assert "teacher.endpoint" in message


def test_int8_is_refused_where_only_transformers_generates(with_endpoint: dict[str, Any]) -> None:
    """By the engine, or by a decoding that only engine hf has."""
    local = {"files": {"labeled": "l.jsonl", "dev": "d.jsonl", "test": "t.jsonl"}, "metrics": ["bleu"]}
    teacher = {"scratch": SIZES, "finetune": {}}
    int8 = {"compute_type": "int8"}
    diverse = {**int8, "decoding": {"kind": "diverse_beam", "groups": 2}}
    recipe = {**with_endpoint, "task": local, "teacher": teacher, "distil": {"method": "sequence_level"}}
    check_recipe({**recipe, "pseudo_targets": int8})

    for changes, facts in (
        ({"engine": "hf", "pseudo_targets": int8}, ["compute_type is int8", "engine hf", "auto or ctranslate2"]),
        ({"pseudo_targets": diverse}, ["compute_type is int8", "diverse_beam", "engine hf"]),
    ):
        message = refused({**recipe, **changes})
        assert all(fact in message for fact in facts), message


def test_all_conflicts_are_reported_together(with_endpoint: dict[str, Any]) -> None:
    """Three settings need one correction pass, not three."""
    changes = {"distil": {"final_finetune": {}}, "task": {"primary_metric": "nll"}}
    message = refused({**merge(with_endpoint, changes), "student": {"prune": {}}})

    assert all(key in message for key in ("distil.final_finetune", "task.primary_metric", "student.prune"))


def test_a_rule_is_skipped_if_one_of_its_sections_is_not_given(with_endpoint: dict[str, Any]) -> None:
    """The conflicts of the other sections are still found."""
    recipe = check_recipe(with_endpoint)
    task = recipe.task.model_copy(update={"primary_metric": "chrf"})
    (conflict,) = recipe_conflicts({"task": task, "teacher": recipe.teacher})

    assert "task.primary_metric is 'chrf'" in conflict
