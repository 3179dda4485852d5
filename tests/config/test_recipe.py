from typing import Any

import pytest
from pydantic import ValidationError

from understudy.config.read import check_recipe
from understudy.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"distil": {"targets": {"gold": 0}}},
            r"distil\.targets: gold, teacher and student are all 0, so there is no text to learn; give one",
        ),
        (
            {"pseudo_targets": {"decoding": {"kind": "beam"}}},
            r"pseudo_targets: per_input is 8, but decoding beam writes at most 1 per input; use decoding kind sampling",
        ),
        (
            {"pseudo_targets": {"decoding": {"kind": "k_beams", "beams": 4}}},
            r"per_input is 8, but decoding k_beams writes at most 4 per input; .* or k_beams with as many beams",
        ),
        ({"pseudo_targets": {"inputs": []}}, r"pseudo_targets\.inputs: .*at least 1 item"),
        (
            {"distil": {"targets": {"gold": 1, "student": 1}, "student_samples": {"start": 0.5}}},
            r"distil: student_samples\.start is 0\.5, but targets\.teacher is 0, so nothing stands in before; set",
        ),
        (
            {"training": {"keep_weights": "average", "patience": 3}},
            r"training: patience is 3, which stops at weights .* leave patience out, or set keep_weights=best",
        ),
        (
            {"distil": {"final_finetune": {"keep_weights": "last"}}},
            r"distil: final_finetune\.keep_weights is last, but a last lesson .* leave "
            r"final_finetune\.keep_weights out",
        ),
        (
            {"distil": {"student_samples": {"start": 0.5, "share": {"kind": "growing"}}}},
            r"distil: student_samples\.start is 0\.5, but student_samples\.share is growing, .* leave start out",
        ),
        (
            {"training": {"targets_per_source": 4}, "distil": {"student_samples": {"decoding": {"kind": "beam"}}}},
            r"recipe: training\.targets_per_source is 4, .*student_samples\.decoding beam gives one; use kind sampling",
        ),
        (
            {"engine": "ctranslate2", "pseudo_targets": {"decoding": {"kind": "diverse_beam", "groups": 8}}},
            r"recipe: pseudo_targets\.decoding is diverse_beam, which engine ctranslate2 does not have; set engine",
        ),
        (
            {"task": {"forecast": {}, "prompt": "write it down"}},
            r"task: prompt is 'write it down', which never shows the input; write \{source\} where it belongs",
        ),
        (
            {"task": {"forecast": {}, "primary_metric": "rougeL"}},
            r"recipe: task\.primary_metric is 'rougeL', which is not among task\.metrics \(bleu, .*\); add it there",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    minimal: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """The contradiction is told before any model is loaded, with a way out."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal | changes)


def test_a_student_that_writes_from_the_start_needs_no_teachers_text(minimal: dict[str, Any]) -> None:
    """Only a late start needs somebody who stands in."""
    recipe = check_recipe(minimal | {"distil": {"targets": {"student": 1}}})

    assert recipe.distil.student_samples.start == 0


def test_as_many_texts_as_beams_are_allowed(minimal: dict[str, Any]) -> None:
    """The boundary belongs to the allowed side."""
    asked = {"per_input": 4, "decoding": {"kind": "k_beams", "beams": 4}}

    assert check_recipe(minimal | {"pseudo_targets": asked}).pseudo_targets.per_input == 4


def test_a_recipe_cannot_be_changed(minimal: dict[str, Any]) -> None:
    """What was checked is what is run."""
    recipe = check_recipe(minimal)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.epochs = 3


def test_relations_that_cannot_be_cut_are_refused_before_the_teacher_is_trained(minimal: dict[str, Any]) -> None:
    """The teacher's four heads do not divide a student of width 90; of width 92 they do."""
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16}
    teacher = {"scratch": {"width": 64, "heads": 4, **sizes}}

    def asked(width: int) -> dict[str, Any]:
        student = {"scratch": {"width": width, "heads": 2, **sizes}}
        return minimal | {"teacher": teacher, "student": student, "distil": {"method": "attention_relations_kd"}}

    with pytest.raises(ConfigError, match=r"teacher's 4 heads.*width is 90, which they do not divide.*such as 92"):
        check_recipe(asked(90))
    assert check_recipe(asked(92)).distil.relations


def test_a_noisy_teacher_without_dropout_is_refused_before_it_is_trained(minimal: dict[str, Any]) -> None:
    """It would be plain Logits KD under another name."""
    sizes = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 16}

    def asked(dropout: float) -> dict[str, Any]:
        return minimal | {"teacher": {"scratch": {**sizes, "dropout": dropout}}, "distil": {"method": "noisy_kd"}}

    with pytest.raises(ConfigError, match=r"teacher\.scratch\.dropout is 0; set it to 0\.1.*or use method logits_kd"):
        check_recipe(asked(0.0))
    assert check_recipe(asked(0.1)).distil.enable_teacher_dropout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"student\.scratch: width is 16, which is divided among 3 heads; use .* a multiple of 3"),
        ({"encoder_layers": 0}, r"encoder_layers is 0, but bart is an encoder-decoder; set it to at least 1"),
        ({"architecture": "t5", "encoder_layers": 0}, r"encoder_layers is 0, but t5 is an encoder-decoder"),
        ({"architecture": "gpt2"}, r"encoder_layers is 2, but gpt2 is decoder-only; leave encoder_layers out"),
        (
            {"architecture": "llama", "encoder_layers": 0, "width": 12, "heads": 4},
            r"width 12 gives each of 4 heads 3 numbers, and llama turns them in pairs; use .* a multiple of 8",
        ),
    ],
)
@pytest.mark.parametrize("who", ["teacher", "student"])
def test_sizes_that_do_not_fit_are_told_of_the_network_they_were_asked_for(
    minimal: dict[str, Any], who: str, changes: dict[str, Any], message: str
) -> None:
    """Before the teacher learns, whichever network it is."""
    scratch = {"width": 16, "encoder_layers": 2, "decoder_layers": 1, "heads": 2, "feed_forward": 16} | changes

    with pytest.raises(ConfigError, match=message.replace("student", who)):
        check_recipe(minimal | {who: {"scratch": scratch}})


def test_the_inputs_of_pseudo_targets_are_a_set(minimal: dict[str, Any]) -> None:
    """However they are written, the recipe is the same, and so are its keys."""
    recipes = [
        check_recipe(minimal | {"pseudo_targets": {"inputs": inputs}})
        for inputs in (["unlabeled", "labeled"], ["labeled", "unlabeled", "labeled"], ["labeled", "unlabeled"])
    ]

    assert recipes[0] == recipes[1] == recipes[2]
