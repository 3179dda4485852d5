"""What a teacher behind an endpoint cannot give is told before anybody is asked."""

import copy
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.bought import done, recipe_of
from tests.pipeline.conftest import TRAINING

from understudy.config.read import check_recipe
from understudy.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("distil", {"method": "joint_teaching"}, "texts of the student, and an endpoint only writes"),
        ("distil", {"method": "extreme_logits", "targets": {"gold": 1, "teacher": 1}}, "task.files has no labeled"),
        ("distil", {"method": "extreme_logits", "targets": {"gold": 1}}, "gives the teacher's text no share"),
        ("distil", {"method": "extreme_logits", "final_finetune": TRAINING}, "final_finetune is a last lesson"),
        ("task", {"primary_metric": "nll"}, "primary_metric is nll, and an endpoint does not tell"),
        ("pseudo_targets", {"per_input": 1, "decoding": {"kind": "greedy"}}, "asked again, would agree"),
        ("student", {"prune": {}}, "prune cuts layers out of the teacher, and teacher.endpoint has none"),
        ("pseudo_targets", {"inputs": ["labeled"]}, r"names labeled inputs, but task.files has none"),
        ("pseudo_targets", {"decoding": {"kind": "k_beams", "beams": 2}}, "decoding is k_beams, which no endpoint"),
        ("pseudo_targets", {"decoding": {"kind": "sampling", "top_k": 5}}, "sampling with top_k, which no endpoint"),
        ("pseudo_targets", {"keep": {"kind": "mbr", "n": 1}}, "leave it out"),
    ],
)
def test_what_an_endpoint_cannot_give_is_refused(
    section: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Before anybody is asked."""
    plain = recipe_of(tmp_path, "http://127.0.0.1:9/v1")
    plain[section] = changes if section in {"student", "distil"} else plain[section] | changes

    with pytest.raises(ConfigError, match=message):
        check_recipe(plain)


def test_distributions_need_log_probabilities(tmp_path: Path) -> None:
    """And are asked for by their number."""
    plain = copy.deepcopy(recipe_of(tmp_path, "http://127.0.0.1:9/v1"))
    plain["teacher"]["endpoint"]["top_logprobs"] = 0

    with pytest.raises(ConfigError, match="top_logprobs is 0, so the endpoint is asked for none"):
        check_recipe(plain)


def test_a_teacher_of_ones_own_needs_labels(tmp_path: Path) -> None:
    """Held out inputs have references only where a teacher can be asked for them."""
    plain = recipe_of(tmp_path, "")
    plain["teacher"] = {"scratch": plain["student"]["scratch"]}

    with pytest.raises(ConfigError, match="only a teacher behind an endpoint can do without"):
        check_recipe(plain)


def test_held_out_inputs_leave_some_to_learn_from(tmp_path: Path) -> None:
    """All of them cannot be held out."""
    plain = recipe_of(tmp_path, "http://127.0.0.1:9/v1")
    plain["task"]["held_out"] = {"dev": 6, "test": 50}

    with pytest.raises(DataError, match=r"held_out\.test is 50, but .* 50 unlabeled inputs"):
        done(plain, tmp_path / "runs")


def test_a_split_comes_from_one_place(tmp_path: Path) -> None:
    """A file, or held out: not both, and not neither."""
    plain = recipe_of(tmp_path, "http://127.0.0.1:9/v1")
    plain["task"]["held_out"] = {"dev": 6}

    with pytest.raises(ConfigError, match=r"test comes from a file.*neither is given"):
        check_recipe(plain)
