from typing import Any

import pytest
from pydantic import ValidationError

from understudy.config.read import check_recipe
from understudy.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distil": {"targets": {"gold": 0}}}, r"distil\.targets: gold, teacher and student are all 0.*above 0"),
        (
            {"pseudo_targets": {"decoding": {"kind": "beam"}}},
            r"pseudo_targets: per_input is 8, .*beam .*at most 1 .*use decoding kind sampling",
        ),
        (
            {"pseudo_targets": {"decoding": {"kind": "k_beams", "beams": 4}}},
            r"pseudo_targets: per_input is 8, .*k_beams .*at most 4 .*k_beams with as many beams",
        ),
        ({"pseudo_targets": {"inputs": []}}, r"pseudo_targets\.inputs: is an empty list"),
        (
            {"distil": {"targets": {"gold": 1, "student": 1}, "student_samples": {"start": 0.5}}},
            r"distil: student_samples\.start is 0\.5, .*targets\.teacher is 0.*student_samples\.start=0",
        ),
        (
            {"training": {"keep_weights": "average", "patience": 3}},
            r"training: patience is 3, .*keep_weights=average .*leave patience out.*keep_weights=best",
        ),
        (
            {"distil": {"final_finetune": {"keep_weights": "last"}}},
            r"distil: final_finetune\.keep_weights is last, .*leave final_finetune\.keep_weights out",
        ),
        (
            {"distil": {"student_samples": {"start": 0.5, "share": {"kind": "growing"}}}},
            r"distil: student_samples\.start is 0\.5, .*student_samples\.share is growing, .*leave start out",
        ),
        (
            {"distil": {"targets": {"student": 1}, "student_samples": {"share": {"kind": "growing"}}}},
            r"distil: student_samples\.share is growing, .*targets\.gold or targets\.teacher",
        ),
        (
            {"distil": {"enable_teacher_dropout": True, "objective": {"kind": "cross_entropy"}}},
            r"distil: enable_teacher_dropout .*cross_entropy.*use objective forward_kl",
        ),
        (
            {"distil": {"relations": {"of": "hidden"}, "objective": {"kind": "cross_entropy"}}},
            r"distil: relations .*cross_entropy.*use objective forward_kl",
        ),
        (
            {"distil": {"relations": {"of": "hidden"}}},
            r"distil: relations .*teacher_logprobs is sparse.*teacher_logprobs=\{kind: dense\}",
        ),
        (
            {
                "distil": {"relations": {"of": "hidden"}, "teacher_logprobs": {"kind": "dense"}},
                "training": {"compile_layers": True},
            },
            r"distil\.relations .*compiled layers.*leave training\.compile_layers out",
        ),
        (
            {"training": {"compile_layers": True, "targets_per_source": "auto"}},
            r"training: targets_per_source is auto.*leave compile_layers out",
        ),
        (
            {
                "distil": {
                    "objective": {"kind": "cross_entropy"},
                    "teacher_logprobs": {"kind": "sparse", "weights": "bf16"},
                }
            },
            r"distil: teacher_logprobs\.weights has no effect.*leave weights out",
        ),
        (
            {"training": {"targets_per_source": 4}, "distil": {"student_samples": {"decoding": {"kind": "beam"}}}},
            r"training\.targets_per_source is 4, .*student_samples\.decoding beam .*use kind sampling",
        ),
        (
            {"engine": "ctranslate2", "pseudo_targets": {"decoding": {"kind": "diverse_beam", "groups": 8}}},
            r"pseudo_targets\.decoding is diverse_beam, .*ctranslate2 .*set engine to auto",
        ),
        (
            {"engine": "vllm", "pseudo_targets": {"decoding": {"kind": "k_beams", "beams": 8}}},
            r"pseudo_targets\.decoding is k_beams, .*vllm .*auto.*greedy or sampling",
        ),
        ({"engine": "vllm"}, r"evaluation\.decoding is beam, .*vllm .*auto.*greedy or sampling"),
        ({"task": {"forecast": {}, "prompt": "write it down"}}, r"task: prompt is 'write it down', .*\{source\}"),
        (
            {"task": {"forecast": {}, "primary_metric": "rougeL"}},
            r"task\.primary_metric is 'rougeL', .*task\.metrics \(bleu, .*\); add it",
        ),
    ],
)
def test_contradictory_settings_are_refused(minimal: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    """They are found before any model is loaded; the message shows the values and a remedy."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal | changes)


def test_a_student_that_samples_from_the_start_needs_no_teacher_texts(minimal: dict[str, Any]) -> None:
    """Only a late start needs texts to use before it."""
    recipe = check_recipe(minimal | {"distil": {"targets": {"student": 1}}})

    assert recipe.distil.student_samples.start == 0


def test_as_many_texts_as_beams_are_allowed(minimal: dict[str, Any]) -> None:
    """The boundary is allowed."""
    requested = {"per_input": 4, "decoding": {"kind": "k_beams", "beams": 4}}

    assert check_recipe(minimal | {"pseudo_targets": requested}).pseudo_targets.per_input == 4


def test_a_recipe_cannot_be_changed(minimal: dict[str, Any]) -> None:
    """The checked settings are those of the run."""
    recipe = check_recipe(minimal)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.epochs = 3


def test_relations_need_a_width_that_the_teachers_heads_divide(minimal: dict[str, Any]) -> None:
    """The teacher's 4 heads do not divide a student of width 90, but one of width 92."""
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16}
    teacher = {"scratch": {"width": 64, "heads": 4, **sizes}}

    def recipe(width: int) -> dict[str, Any]:
        student = {"scratch": {"width": width, "heads": 2, **sizes}}
        return minimal | {"teacher": teacher, "student": student, "distil": {"method": "attention_relations_kd"}}

    with pytest.raises(ConfigError, match=r"4 heads.*student\.scratch\.width is 90.*such as 92"):
        check_recipe(recipe(90))
    assert check_recipe(recipe(92)).distil.relations


def test_teacher_dropout_needs_a_teacher_with_dropout(minimal: dict[str, Any]) -> None:
    """Without it the method would silently be logits_kd."""
    sizes = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16}

    def recipe(dropout: float) -> dict[str, Any]:
        return minimal | {"teacher": {"scratch": {**sizes, "dropout": dropout}}, "distil": {"method": "noisy_kd"}}

    with pytest.raises(ConfigError, match=r"teacher\.scratch\.dropout is 0; set it to 0\.1.*logits_kd"):
        check_recipe(recipe(0.0))
    assert check_recipe(recipe(0.1)).distil.enable_teacher_dropout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"student\.scratch: width is 16, .*3 heads; use .* a multiple of 3"),
        ({"encoder_layers": 0}, r"student\.scratch: encoder_layers is 0, .*bart is an encoder-decoder; .*at least 1"),
        ({"architecture": "t5", "encoder_layers": 0}, r"encoder_layers is 0, .*t5 is an encoder-decoder"),
        ({"architecture": "gpt2"}, r"encoder_layers is 2, .*gpt2 is decoder-only; leave encoder_layers out"),
        (
            {"architecture": "llama", "encoder_layers": 0, "width": 12, "heads": 4},
            r"width 12 .*4 heads 3 dimensions, .*llama.*; use .* a multiple of 8",
        ),
    ],
)
@pytest.mark.parametrize("network", ["teacher", "student"])
def test_impossible_sizes_are_refused(
    minimal: dict[str, Any], network: str, changes: dict[str, Any], message: str
) -> None:
    """They are found before the teacher is trained; the path names the network."""
    scratch = {"width": 16, "encoder_layers": 2, "decoder_layers": 1, "heads": 2, "feed_forward": 16} | changes

    with pytest.raises(ConfigError, match=message.replace("student", network)):
        check_recipe(minimal | {network: {"scratch": scratch}})


def test_the_inputs_of_pseudo_targets_are_a_set(minimal: dict[str, Any]) -> None:
    """Their order and duplicates change neither the recipe nor its cache keys."""
    recipes = [
        check_recipe(minimal | {"pseudo_targets": {"inputs": inputs}})
        for inputs in (["unlabeled", "labeled"], ["labeled", "unlabeled", "labeled"], ["labeled", "unlabeled"])
    ]

    assert recipes[0] == recipes[1] == recipes[2]
