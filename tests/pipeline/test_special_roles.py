"""Teacher and student with one vocabulary and other special tokens, and pools from which nothing can be learned."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.models.special_tokenizers import byte_level
from tests.pipeline.stage_helpers import SmallTask
from transformers import GPT2Config, GPT2LMHeadModel

from understudy.errors import DataError, PoolError
from understudy.models.forward import target_logits
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.pipeline.prepare import changed_targets
from understudy.pipeline.stages.pseudo_targets import useless
from understudy.pipeline.training_data import TaskTokenizers, pool_targets, teacher_sources
from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.records import Example, PseudoTarget
from understudy.training.step import TargetLogits

TEACHER = TaskTokenizer(byte_level("<|end|>"), False, "{source}", 64, 64)
STUDENT = TaskTokenizer(byte_level("<|text|>"), False, "{source}", 64, 64)
BOTH = TaskTokenizers(TEACHER, STUDENT)


def pool_of(folder: Path, rows: list[list[int]]) -> PseudoTargetPool:
    """A pool of the teacher's token ids for one input."""
    targets = [PseudoTarget("a", "teacher", 0, i, tuple(row), TEACHER.decode(row), -1.0) for i, row in enumerate(rows)]
    write_pool_file(folder / "pool-00000.parquet", targets, {"seed": "1"})
    return PseudoTargetPool.open(folder)


def test_pseudo_targets_end_with_the_token_of_the_student(tmp_path: Path) -> None:
    """A truncated text still has no end, and a special token inside a text does not end it for the student."""
    body = TEACHER.encode_targets(["the order"])[0][:-1]
    end, end_of_student = TEACHER.tokenizer.eos_token_id, STUDENT.tokenizer.eos_token_id
    pool = pool_of(tmp_path, [[*body, end], body, [*body, end_of_student, *body, end]])
    texts = pool_targets([Example("a", "x")], BOTH, pool).texts

    assert end != end_of_student
    assert texts[0].tolist() == [*body, end_of_student]
    assert texts[1].tolist() == body
    assert texts[2].tolist() == STUDENT.encode_targets(["the orderthe order"])[0]


def test_each_model_reads_a_source_in_its_own_format() -> None:
    """The separators differ, so the teacher's sources are kept apart; with equal roles they are not."""
    examples = [Example("a", "the order")]
    rows = teacher_sources(examples, BOTH)

    assert rows is not None
    assert rows[0].tolist() == TEACHER.encode_sources(examples)[0] != STUDENT.encode_sources(examples)[0]
    assert teacher_sources(examples, TaskTokenizers(STUDENT, STUDENT)) is None


def test_the_end_of_the_teacher_is_the_end_of_the_student() -> None:
    """Its probability of ending a text is compared with that of the student, whichever token each ends with."""
    tokenizer = TEACHER.tokenizer
    network = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2)
    ).eval()
    assert BOTH.swapped_ends is not None
    teacher_end, student_end = BOTH.swapped_ends
    ids, all_true = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    inputs = {
        "source_ids_SL": ids, "source_mask_SL": all_true, "source_of_B": torch.tensor([0]),
        "target_ids_BT": ids, "target_mask_BT": all_true,
    }  # fmt: skip
    with torch.no_grad():
        expected = target_logits(network, **inputs)
        found = TargetLogits(network, len(tokenizer), "float32", BOTH.swapped_ends)(inputs)

    torch.testing.assert_close(found[:, student_end], expected[:, teacher_end], rtol=0, atol=0)
    torch.testing.assert_close(found[:, teacher_end], expected[:, student_end], rtol=0, atol=0)
    others = [i for i in range(len(tokenizer)) if i not in BOTH.swapped_ends]
    torch.testing.assert_close(found[:, others], expected[:, others], rtol=0, atol=0)


def test_an_id_that_is_no_token_is_refused_when_a_pool_is_read(tmp_path: Path) -> None:
    """With the folder to delete: decoding it would fail on every later run."""
    pool = pool_of(tmp_path, [[1, 2], [1, 999]])

    with pytest.raises(PoolError, match=rf"input 'a' holds the id 999.*{tmp_path}.*delete that folder"):
        pool_targets([Example("a", "x")], BOTH, pool)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["", "", "the"], "2 of 3 pseudo-targets are empty.*teacher.template"),
        (["the", "the", "the"], None),
    ],
)
def test_a_pool_of_empty_texts_is_useless(rows: list[str], message: str | None, tmp_path: Path) -> None:
    """Most texts empty: the sentence names the settings that decide it."""
    found = useless(pool_of(tmp_path, TEACHER.encode_targets(rows)), TEACHER, 0.5)

    assert (found is None) == (message is None)
    if message:
        assert re.search(message, found or "")


def test_a_pool_of_unfinished_texts_is_useless(tmp_path: Path) -> None:
    """Unless the recipe allows it."""
    whole = TEACHER.encode_targets(["the", "an order"])
    pool = pool_of(tmp_path, [row[:-1] for row in whole])

    assert "100% of 2 pseudo-targets have not ended" in (useless(pool, TEACHER, 0.5) or "")
    assert useless(pool, TEACHER, 0.0) is None


def test_targets_that_a_tokenizer_changes_are_said_before_training(tmp_path: Path) -> None:
    """Their number and an example are facts; with strict they are an error."""
    task = SmallTask.write(tmp_path)
    task.teacher()
    labeled = tmp_path / "labeled.jsonl"
    rows = [json.loads(line) for line in labeled.read_text().splitlines()]
    labeled.write_text("".join(json.dumps({**row, "target": f"{row['target']} \u2603"}) + "\n" for row in rows))
    (said, *_) = changed_targets(task.teacher().task.facts.round_trips)

    assert "changes 4 of 12 targets" in said
    assert "\u2603' becomes 'red" in said
    with pytest.raises(DataError, match=r"changes 4 of 12 targets.*strict"):
        replace(task, context=replace(task.context, strict=True)).teacher()
