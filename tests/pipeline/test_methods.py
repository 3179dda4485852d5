"""Every method of the table teaches a student, in both families, over one teacher and one store."""

from pathlib import Path
from typing import Any

import pytest
from understudy.pipeline.bench import STORE, Bench
from understudy.pipeline.learned import Learned

from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe, merge
from understudy.pipeline.run import QUIET, learn
from understudy.store import Store

GPT2 = {"architecture": "gpt2", "encoder_layers": 0}


def taught(tiny: dict[str, Any], method: str, family: str, out: Path) -> Learned:
    """The stages of the tiny recipe under a method, without costs and proof."""
    plain = {key: value for key, value in tiny.items() if key not in {"pseudo_targets", "distil"}}
    changes: dict[str, Any] = {"distil": {"method": method}, "task": {"metrics": ["bleu"]}}
    if family == "gpt2":
        changes |= {"teacher": {"scratch": GPT2}, "student": {"scratch": GPT2}}
    return learn(Bench(check_recipe(merge(plain, changes)), Store(out / STORE), QUIET, "float32"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all."""
    return tmp_path_factory.mktemp("methods")


@pytest.mark.parametrize("family", ["bart", "gpt2"])
@pytest.mark.parametrize("method", PRESETS)
def test_a_method_teaches_a_student(tiny: dict[str, Any], method: str, family: str, shared: Path) -> None:
    """Its loss is a number, and what it learned is delivered; a teacher and a pool that are there are used again."""
    learned = taught(tiny, method, family, shared)
    history = learned.stages[method].manifest.facts["history"]

    assert isinstance(history, list)
    assert history[-1]["train_loss"] > 0
    assert set(learned.answers) == {"teacher", "fine_tuned", method}
    assert len(list((shared / STORE).glob("teacher-*"))) <= 2


def test_a_student_teaches_its_successor(tiny: dict[str, Any], shared: Path) -> None:
    """Self-distillation: the second student learns the first one's texts, not the teacher's."""
    learned = taught(tiny, "self_distillation", "bart", shared)
    first, second = learned.stages["self_distillation_1"], learned.stages["self_distillation"]

    assert first.manifest.inputs["teacher"] == learned.stages["teacher"].key
    assert second.manifest.inputs["teacher"] == first.key
    assert second.manifest.inputs["pool"] != first.manifest.inputs["pool"]


def test_students_of_two_seeds_share_teacher_and_pool(tiny: dict[str, Any], shared: Path) -> None:
    """`student_seed` draws the students anew and nothing else."""
    one = taught(tiny, "logits_pt", "bart", shared)
    other = taught({**tiny, "student_seed": 99}, "logits_pt", "bart", shared)
    same = {name for name in one.stages if one.stages[name].key == other.stages[name].key}

    assert {"data", "tokenizer", "teacher", "pool", "answers_teacher"} <= same
    assert not {"fine_tuned", "logits_pt"} & same
