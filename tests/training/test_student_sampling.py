from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy, Sampling
from understudy.generation.hf import HuggingFaceEngine
from understudy.models.text import decode
from understudy.pool import PseudoTargetPool
from understudy.pool.token_arrays import TokenArrays
from understudy.training.mixture import TrainItem
from understudy.training.student_sampling import StudentSampler, StudentSamples

Build = Callable[..., PreTrainedModel]
SOURCES = [[5, 6, 2], [7, 2], [8, 9, 10, 2]]
LESSONS = [TrainItem(2, "student", (0, 1)), TrainItem(0, "student", (0, 1))]


@pytest.fixture
def writer(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> StudentSampler:
    """Samples at most five tokens with the live network."""
    return StudentSampler(
        TokenArrays.of(SOURCES), ["a", "b", "c"], tokenizer, "hf", Sampling(), max_tokens=5, seed=3,
        provenance={"seed": "3"}, folder=tmp_path / "text",
    )  # fmt: skip


def rows(written: StudentSamples) -> list[list[int]]:
    """The texts of the lessons, in their order, as lists."""
    return [written.texts[row].tolist() for lesson in written.rows for row in lesson]


def test_the_student_writes_for_its_lessons(writer: StudentSampler, build: Build) -> None:
    """Two texts of each lesson's source, lesson by lesson: those the engine writes when it is asked directly."""
    student = build()
    engine = HuggingFaceEngine(student, writer.tokenizer)
    written = engine.generate([SOURCES[2], SOURCES[0]], Sampling(), per_source=2, max_tokens=5, seed=3 + 4)
    expected = [list(text.token_ids) for texts in written for text in texts]

    assert rows(writer(student, LESSONS, 4)) == expected


def test_the_student_writes_without_dropout(writer: StudentSampler, build: Build, tmp_path: Path) -> None:
    """What it writes while it trains is what it would write when it is used; it goes on training after."""
    student = build(dropout=0.5)
    calm = rows(writer(student.eval(), LESSONS, 0))
    elsewhere = replace(writer, folder=tmp_path / "elsewhere")

    assert rows(elsewhere(student.train(), LESSONS, 0)) == calm
    assert student.training


def test_a_round_is_written_once(writer: StudentSampler, build: Build) -> None:
    """A resumed round teaches the texts it taught before, though the student has moved on."""
    written = rows(writer(build(), LESSONS, 0))

    assert rows(writer(build(seed=9), LESSONS, 0)) == written


def test_each_round_is_drawn_anew(writer: StudentSampler, build: Build) -> None:
    """The same student writes other texts in the next round, unless it is greedy."""
    student = build()
    greedy = replace(writer, decoding=Greedy(), folder=writer.folder / "greedy")
    one = [lesson._replace(rows=(0,)) for lesson in LESSONS]

    assert rows(writer(student, LESSONS, 0)) != rows(writer(student, LESSONS, 1))
    assert rows(greedy(student, one, 0)) == rows(greedy(student, one, 1))


def test_what_the_student_wrote_can_be_looked_at(writer: StudentSampler, build: Build) -> None:
    """As a pool: whose input, which round, which sample, which text."""
    texts = [rows(writer(build(), LESSONS, number)) for number in range(2)]
    pool = list(PseudoTargetPool.open(writer.folder))

    assert [(row.input_id, row.round, row.sample) for row in pool] == [
        (name, number, sample) for number in range(2) for name in ("c", "a") for sample in range(2)
    ]
    assert [list(row.token_ids) for row in pool] == texts[0] + texts[1]
    assert {row.generator for row in pool} == {"student"}
    assert [row.text for row in pool] == [decode(writer.tokenizer, row.token_ids) for row in pool]


def test_a_young_text_is_taught_again(writer: StudentSampler, build: Build) -> None:
    """For as many rounds as its age may be; an input without one gets its first text in the meantime."""
    replaying = replace(writer, max_age=1)
    first = rows(replaying(build(), LESSONS, 0))
    again = rows(replaying(build(seed=9), [*LESSONS, TrainItem(1, "student", (0, 1))], 1))
    anew = rows(replaying(build(seed=9), LESSONS, 2))

    assert again[:4] == first
    assert len(again) == 6
    assert anew != first
