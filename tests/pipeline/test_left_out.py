"""Texts that are too long are counted by the training that leaves them out, and the report says what to set."""

from pathlib import Path

import pytest
from tests.training.test_other_tokenizer import letters, reads, words

from understudy.models.task_tokenizer import TaskTokenizer
from understudy.pipeline.stages.left_out import MOST_LEFT_OUT, left_out_facts, left_out_warnings
from understudy.pipeline.training_data import TaskTokenizers, pool_targets
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import write_pool_file
from understudy.records import Example, LeftOut, PseudoTarget
from understudy.store.manifest import Manifest

EXAMPLES = [Example("a", "the end"), Example("b", "a café")]
TEXTS = {"a": ["the Mill", "the Millers and the Milling", ""], "b": ["the end", "São Paulo"], "dropped": ["the Mill"]}


def pool_of(teacher: TaskTokenizer, folder: Path) -> PseudoTargetPool:
    """A pool of the texts above; one is empty, as only reasoning becomes, and one belongs to no example."""
    rows = [
        PseudoTarget(name, "teacher", 0, place, tuple(teacher.encode_targets([text])[0]) if text else (), text, -1.0)
        for name, texts in TEXTS.items()
        for place, text in enumerate(texts)
    ]
    write_pool_file(folder / "shard.parquet", rows, {"seed": "1"})
    return PseudoTargetPool.open(folder)


@pytest.mark.parametrize("positions", [12, 24, 60])
def test_texts_over_the_positions_of_the_student_are_counted(tmp_path: Path, positions: int) -> None:
    """Of all texts with a token, those that do not fit, and those whose source the student cannot read."""
    teacher, student = reads(words()), reads(letters(), positions=positions)
    found = pool_targets(EXAMPLES, TaskTokenizers(teacher, student), pool_of(teacher, tmp_path))
    sources = dict(zip("ab", map(len, student.encode_sources(EXAMPLES)), strict=True))
    needed = [
        student.needed_positions(sources[name], len(student.encode_targets([text])[0]))
        for name in sources
        for text in TEXTS[name]
        if text
    ]
    long = sum(own > positions for own in needed)

    assert len(found.texts) == len(needed) - long
    assert LeftOut("teacher", "source", 1, 5) in found.left_out
    assert [own for own in found.left_out if own.reason == "student_positions"] == (
        [LeftOut("teacher", "student_positions", long, 5)] if long else []
    )


def manifest(stage: str, **facts: object) -> Manifest:
    """A manifest with these facts."""
    return Manifest(stage, "0" * 16, 1, {}, {}, (), {}, facts, 0.0, {})


def test_the_report_has_what_was_left_out_and_warns_above_a_tenth() -> None:
    """Examples over the limits by split, pseudo-targets, student samples; of two examples stages the larger share."""
    few = [{"generator": "teacher", "reason": "student_positions", "count": 5, "of": 50}]
    many = [{"generator": "student", "reason": "teacher_positions", "count": 6, "of": 50}]
    digests: dict[str, dict[str, str]] = {"digests": {}, "label_digests": {}}
    found = left_out_facts(
        {
            Path("e1"): manifest("examples", counts={"labeled": 99}, dropped={"labeled": 1}, **digests),
            Path("e2"): manifest("examples", counts={"labeled": 70}, dropped={"labeled": 30}, **digests),
            Path("s"): manifest("student", left_out=[*few, *many]),
            Path("p"): manifest("api_pool", texts=3, too_long=0),
        }
    )
    warnings = list(left_out_warnings(found))

    assert [(own["what"], own["count"], own["of"]) for own in found] == [
        ("labeled examples", 30, 100),
        ("pseudo-targets", 5, 50),
        ("student samples", 6, 50),
    ]
    assert MOST_LEFT_OUT * 50 == 5
    assert [warning.split(" are ")[0] for warning in warnings] == [
        "30 of 100 labeled examples", "6 of 50 student samples"
    ]  # fmt: skip
    assert "task.max_source_tokens" in warnings[0]
    assert "task.max_target_tokens" in warnings[1]
