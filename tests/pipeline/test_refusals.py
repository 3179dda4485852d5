"""What is refused before a teacher learns: hours later it would be a traceback, or a student that learned nothing."""

from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe, merge
from understudy.errors import EvaluationError, UnderstudyError
from understudy.pipeline.run import run

METEOR = {"task": {"metrics": ["bleu", "meteor"]}}


def refused(tiny: dict[str, Any], out: Path, changes: dict[str, Any]) -> str:
    """The sentence, after a look that no teacher learned."""
    with pytest.raises(UnderstudyError) as wrong:
        run(check_recipe(merge(tiny, changes)), out=out)
    assert not list((out / "store").glob("teacher-*"))
    return str(wrong.value)


@pytest.mark.parametrize("method", ["joint_teaching", "student_only", "gkd"])
def test_a_task_without_the_inputs_that_are_taught(tiny: dict[str, Any], tmp_path: Path, method: str) -> None:
    """The pool would be empty, and every round of a student that writes too."""
    paths = {split: tmp_path / f"{split}.jsonl" for split in ("labeled", "dev", "test")}
    for split, path in paths.items():
        path.write_text(f'{{"source": "{split}", "target": "some text"}}\n')
    task = {"files": {split: str(path) for split, path in paths.items()}, "metrics": ["bleu"]}
    plain = {**tiny, "task": task, "distil": {"method": method}, "pseudo_targets": {"inputs": ["unlabeled"]}}
    plain["teacher"] = {**tiny["teacher"], "vocab_size": 110}

    assert "names unlabeled inputs, and the task has none of them" in refused(plain, tmp_path, {})


@pytest.mark.parametrize(
    ("prune", "said"),
    [
        ({"decoder_layers": 2}, "there are 1; keep between 1 and 1"),
        ({"encoder_layers": [0, 3]}, "keep encoder layers [0, 3] of 1"),
    ],
)
def test_layers_that_the_teacher_will_not_have(
    tiny: dict[str, Any], tmp_path: Path, prune: dict[str, Any], said: str
) -> None:
    """Its sizes are known before it is."""
    plain = {**tiny, "student": {"prune": prune, "finetune": tiny["student"]["finetune"]}}

    assert said in refused(plain, tmp_path, {})


def test_an_encoder_that_is_not_there(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Only its config is read."""
    task = {"metrics": ["bleu", "bertscore"], "bertscore": {"model": str(tmp_path / "nowhere")}}

    assert "nowhere" in refused(tiny, tmp_path, {"task": task})


def test_synonyms_that_are_not_there(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has WordNet or not."""

    def missing() -> None:
        raise EvaluationError("meteor matches synonyms of WordNet, which is not on this machine")

    monkeypatch.setattr("understudy.evaluation.meteor.wordnet", missing)

    assert "which is not on this machine" in refused(tiny, tmp_path, METEOR)
