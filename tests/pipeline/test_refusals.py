"""What is refused before a teacher is trained; found hours later it would be a traceback, or a useless student."""

from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe, merge
from understudy.errors import EvaluationError, UnderstudyError
from understudy.pipeline.run import run

METEOR = {"task": {"metrics": ["bleu", "meteor"]}}


def refusal(tiny: dict[str, Any], out: Path, changes: dict[str, Any]) -> str:
    """The message; no teacher was trained."""
    with pytest.raises(UnderstudyError) as caught:
        run(check_recipe(merge(tiny, changes)), out=out)
    assert not list((out / "store").glob("teacher-*"))
    return str(caught.value)


@pytest.mark.parametrize("method", ["joint_teaching", "student_only", "gkd"])
def test_a_task_without_the_requested_inputs(tiny: dict[str, Any], tmp_path: Path, method: str) -> None:
    """The pool would be empty, and so would every round of student samples."""
    paths = {split: tmp_path / f"{split}.jsonl" for split in ("labeled", "dev", "test")}
    for split, path in paths.items():
        path.write_text(f'{{"source": "{split}", "target": "some text"}}\n')
    task = {"files": {split: str(path) for split, path in paths.items()}, "metrics": ["chrf"]}
    plain = {**tiny, "task": task, "distil": {"method": method}, "pseudo_targets": {"inputs": ["unlabeled"]}}
    plain["teacher"] = {**tiny["teacher"], "vocab_size": 110}

    assert "pseudo_targets.inputs names unlabeled inputs, and the task has none" in refusal(plain, tmp_path, {})


@pytest.mark.parametrize(
    ("prune", "facts"),
    [
        ({"decoder_layers": 2}, "there are 1; keep between 1 and 1"),
        ({"encoder_layers": [0, 3]}, "keep encoder layers [0, 3] of 1"),
    ],
)
def test_layers_that_the_teacher_will_not_have(
    tiny: dict[str, Any], tmp_path: Path, prune: dict[str, Any], facts: str
) -> None:
    """Its sizes are known before it is built."""
    plain = {**tiny, "student": {"prune": prune, "finetune": tiny["student"]["finetune"]}}

    assert facts in refusal(plain, tmp_path, {})


def test_a_missing_encoder_of_bertscore(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Only its config is read."""
    task = {"metrics": ["bleu", "bertscore"], "bertscore": {"model": str(tmp_path / "nowhere")}}

    assert "nowhere" in refusal(tiny, tmp_path, {"task": task})


def test_missing_synonyms_of_meteor(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has WordNet or not."""

    def missing() -> None:
        raise EvaluationError("meteor matches synonyms of WordNet, which is not on this machine")

    monkeypatch.setattr("understudy.evaluation.meteor.wordnet", missing)

    assert "WordNet" in refusal(tiny, tmp_path, METEOR)


def test_missing_checkpoints(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Of the teacher and of the student, by name."""
    nowhere = str(tmp_path / "nowhere")
    for section in ("teacher", "student"):
        assert nowhere in refusal({**tiny, section: {"model": nowhere}}, tmp_path, {})
