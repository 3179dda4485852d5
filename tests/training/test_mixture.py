from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from understudy.errors import DataError, PoolError
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.training.mixture import Mixture, TrainItem, plan_round

SOURCES, K, LABELED = 40, 4, 10
SEED = 7


@pytest.fixture
def mixture() -> Mixture:
    """Forty sources, ten of them with two gold targets, thirty-five of them with four texts of the teacher."""
    return Mixture(
        sources=TokenArrays.of([[s] for s in range(SOURCES)]),
        targets={
            "gold": Targets.of([[[s, 0], [s, 1]] if s < LABELED else [] for s in range(SOURCES)]),
            "teacher": Targets.of([[[s, j] for j in range(K)] if s >= 5 else [] for s in range(SOURCES)]),
        },
        shares={"gold": 0.1, "teacher": 0.45, "student": 0.45},
        inputs=np.arange(5, SOURCES),
    )


def epoch_of(mixture: Mixture, epoch: int) -> list[TrainItem]:
    """All lessons of an epoch."""
    rounds = range(epoch * mixture.rounds_per_epoch, (epoch + 1) * mixture.rounds_per_epoch)
    return [lesson for number in rounds for lesson in plan_round(mixture, number=number, seed=SEED)]


def test_shares_are_kept_to_the_lesson(mixture: Mixture) -> None:
    """35 inputs at 0.45 to 0.45 to 0.1: a half each by teacher and student, and a ninth of them of gold."""
    counts = Counter(lesson.generator for lesson in epoch_of(mixture, 0))

    assert counts == {"teacher": 18, "student": 17, "gold": 4}


@pytest.mark.parametrize("rounds_per_epoch", [1, 3, 50])
@pytest.mark.parametrize("student_from_round", [0, 1, 4, 100])
def test_an_epoch_teaches_every_input_once(mixture: Mixture, rounds_per_epoch: int, student_from_round: int) -> None:
    """Also where the student begins to write in the midst of it, and where there are more rounds than lessons."""
    mixture = replace(mixture, rounds_per_epoch=rounds_per_epoch, student_from_round=student_from_round)
    for epoch in range(3):
        taught = [lesson.source for lesson in epoch_of(mixture, epoch) if lesson.generator != "gold"]
        assert sorted(taught) == list(range(5, SOURCES))


def test_the_teacher_stands_in_before_the_student_begins(mixture: Mixture) -> None:
    """No text of the student before its first round, its whole share in the epochs after."""
    mixture = replace(mixture, rounds_per_epoch=2, student_from_round=3)
    by_student = [
        sum(lesson.generator == "student" for lesson in plan_round(mixture, number=number, seed=SEED))
        for number in range(6)
    ]

    assert by_student[:3] == [0, 0, 0]
    assert by_student[3] > 0
    assert by_student[4] + by_student[5] == 17


def test_the_teachers_texts_take_turns(mixture: Mixture) -> None:
    """Epoch e teaches text e mod K of a source, as the paper's does (section 5.2)."""
    mixture = replace(mixture, shares={"teacher": 1.0})
    teacher = mixture.targets["teacher"]
    for epoch in (0, 1, K - 1, K, 2 * K + 1):
        taught = {lesson.source: lesson.rows for lesson in epoch_of(mixture, epoch)}
        expected = {source: (teacher.rows(source)[epoch % K],) for source in range(5, SOURCES)}
        assert taught == expected


def test_targets_of_a_lesson_differ(mixture: Mixture) -> None:
    """Three of four texts each time, all of them equally often; a source with fewer texts teaches each once."""
    few = Targets.of([[[s, j] for j in range(2 if s == 6 else K)] for s in range(SOURCES)])
    mixture = replace(mixture, shares={"teacher": 1.0}, targets={"teacher": few}, targets_per_source=3)
    seen: Counter[int] = Counter()
    for epoch in range(K):
        for lesson in epoch_of(mixture, epoch):
            assert len(set(lesson.rows)) == len(lesson.rows) == (2 if lesson.source == 6 else 3)
            assert set(lesson.rows) <= set(few.rows(lesson.source))
            seen.update(lesson.rows if lesson.source != 6 else ())

    assert set(seen.values()) == {3}


def test_the_student_is_asked_for_as_many_texts(mixture: Mixture) -> None:
    """Its lessons number the texts it will write for a source."""
    lessons = epoch_of(replace(mixture, targets_per_source=2), 0)

    assert {lesson.rows for lesson in lessons if lesson.generator == "student"} == {(0, 1)}


def test_gold_takes_part_evenly(mixture: Mixture) -> None:
    """Four of twenty gold targets in each epoch: after five epochs each was taught once, after ten twice."""
    gold = mixture.targets["gold"]
    seen: Counter[int] = Counter()
    for epoch in range(10):
        for lesson in epoch_of(mixture, epoch):
            if lesson.generator == "gold":
                assert lesson.rows[0] in gold.rows(lesson.source)
                seen.update(lesson.rows)
        if epoch in {4, 9}:
            assert Counter(seen.values()) == {(epoch + 1) // 5: 20}


@pytest.mark.parametrize("targets_per_source", [1, 2, 3])
def test_gold_alone_is_every_target_once(mixture: Mixture, targets_per_source: int) -> None:
    """An epoch of fine-tuning, with several references of a source in one lesson."""
    mixture = replace(mixture, shares={"gold": 1.0}, targets_per_source=targets_per_source)
    lessons = epoch_of(mixture, 1)

    assert sorted(row for lesson in lessons for row in lesson.rows) == list(range(2 * LABELED))
    assert all(set(lesson.rows) <= set(mixture.targets["gold"].rows(lesson.source)) for lesson in lessons)
    assert len(lessons) == (2 * LABELED if targets_per_source == 1 else LABELED)


def test_a_round_is_a_function_of_seed_and_number(mixture: Mixture) -> None:
    """Asked for alone, again, or after others, it is the same; another seed and another epoch give another order."""
    mixture = replace(mixture, rounds_per_epoch=2)
    later = plan_round(mixture, number=5, seed=SEED)
    epoch_of(mixture, 0)

    assert plan_round(mixture, number=5, seed=SEED) == later
    assert plan_round(mixture, number=5, seed=SEED + 1) != later
    order = [[lesson.source for lesson in epoch_of(mixture, epoch)] for epoch in range(2)]
    assert order[0] != order[1]


def test_a_source_without_a_text_of_the_teacher_is_refused(mixture: Mixture) -> None:
    """The message names the source and what to do; its neighbour's text is not taught instead."""
    mixture = replace(mixture, inputs=np.array([4]), shares={"teacher": 1.0})
    with pytest.raises(PoolError, match=r"source 4 is to learn the teacher's text, but the pool has none for it; let"):
        plan_round(mixture, number=0, seed=SEED)


def test_gold_without_targets_is_refused(mixture: Mixture) -> None:
    """A share of nothing cannot be kept."""
    mixture = replace(mixture, targets={**mixture.targets, "gold": Targets.of([[]] * SOURCES)})
    with pytest.raises(DataError, match=r"gold has a share of the targets, but no source has a gold target; give lab"):
        plan_round(mixture, number=0, seed=SEED)
