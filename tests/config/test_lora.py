"""The `lora` section of a training: where it may be, and what is refused."""

from typing import Any

import pytest

from understudy.config.read import check_recipe, merge
from understudy.errors import ConfigError

SIZES = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
FILES = {"labeled": "labeled.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
PRETRAINED = {"model": "owner/name", "finetune": {}}


def recipe(**sections: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data
    """A recipe of two pretrained models, with some sections replaced."""
    whole = {"name": "r", "task": {"files": FILES}, "teacher": PRETRAINED, "student": PRETRAINED}
    return {**whole, "distil": {"method": "sequence_level"}, **sections}


def refused(plain: dict[str, Any]) -> str:
    """The message with which a recipe is refused."""
    with pytest.raises(ConfigError) as error:
        check_recipe(plain)
    return str(error.value)


def test_every_training_may_have_an_adapter() -> None:
    """Of teacher, baseline, student and final fine-tuning; rank 16 of all linear layers is the default."""
    own: dict[str, Any] = {"lora": {}}
    read = check_recipe(
        recipe(
            teacher=merge(PRETRAINED, {"finetune": own}),
            student={"prune": {"decoder_layers": 2}, "finetune": own},
            training={"lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}},
            distil={"method": "sequence_level", "final_finetune": own},
        )
    )

    assert read.training.lora is not None
    assert read.training.lora.target_modules == ("q_proj", "v_proj")
    assert read.student.finetune.lora is not None
    assert read.student.finetune.lora.model_dump() == {
        "rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": "all-linear",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "section"),
    [
        ({"teacher": {"scratch": SIZES, "finetune": {"lora": {}}}}, "finetune.lora"),
        ({"student": {"scratch": SIZES, "finetune": {"lora": {}}}}, "finetune.lora"),
        ({"student": {"scratch": SIZES}, "training": {"lora": {}}}, "training.lora"),
    ],
)
def test_random_weights_cannot_stay_frozen(changes: dict[str, Any], section: str) -> None:
    """An adapter of a network from scratch is refused, with both ways out."""
    message = refused(recipe(**changes))

    assert section in message
    assert "remove lora, or use a pretrained model" in message


def test_a_trained_student_from_scratch_may_have_one_at_last() -> None:
    """Its weights are not random when it is fine-tuned in the end."""
    final = {"method": "sequence_level", "final_finetune": {"lora": {}}}
    assert check_recipe(recipe(student={"scratch": SIZES}, distil=final)).distil.final_finetune is not None


@pytest.mark.parametrize(
    ("lora", "facts"),
    [
        ({"target_modules": []}, ["training.lora", "nothing would be trained"]),
        ({"target_modules": "all"}, ["training.lora.target_modules"]),
        ({"rank": 0}, ["training.lora.rank"]),
        ({"alpha": 0}, ["training.lora.alpha"]),
        ({"dropout": 1.0}, ["training.lora.dropout"]),
        ({"r": 8}, ["training.lora.r", "unknown key", "rank"]),
    ],
)
def test_wrong_settings_are_named(lora: dict[str, Any], facts: list[str]) -> None:
    """By their path in the recipe."""
    message = refused(recipe(training={"lora": lora}))

    assert [fact for fact in facts if fact not in message] == []
