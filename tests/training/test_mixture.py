from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from understudy.errors import DataError, PoolError
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.training.items import TrainItem
from understudy.training.mixture import Mixture, plan_round

SOURCES, K, LABELED = 40, 4, 10
SEED = 7


@pytest.fixture
def mixture() -> Mixture:
    """Forty sources, ten of them with two gold targets, thirty-five with four teacher texts."""
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
    """All items of an epoch."""
    rounds = range(epoch * mixture.rounds_per_epoch, (epoch + 1) * mixture.rounds_per_epoch)
    return [item for number in rounds for item in plan_round(mixture, number=number, seed=SEED)]


def test_shares_are_exact(mixture: Mixture) -> None:
    """35 inputs at 0.45 to 0.45 to 0.1: half each for teacher and student, and a ninth of them gold."""
    counts = Counter(item.generator for item in epoch_of(mixture, 0))

    assert counts == {"teacher": 18, "student": 17, "gold": 4}


@pytest.mark.parametrize("rounds_per_epoch", [1, 3, 50])
@pytest.mark.parametrize("student_from_round", [0, 1, 4, 100])
def test_an_epoch_has_every_input_once(mixture: Mixture, rounds_per_epoch: int, student_from_round: int) -> None:
    """Also where student samples begin within it, and where there are more rounds than items."""
    mixture = replace(mixture, rounds_per_epoch=rounds_per_epoch, student_from_round=student_from_round)
    for epoch in range(3):
        found = [item.source for item in epoch_of(mixture, epoch) if item.generator != "gold"]
        assert sorted(found) == list(range(5, SOURCES))


def test_teacher_texts_replace_student_samples_before_their_first_round(mixture: Mixture) -> None:
    """No student sample before the first round, the full share in the epochs after."""
    mixture = replace(mixture, rounds_per_epoch=2, student_from_round=3)
    samples = [
        sum(item.generator == "student" for item in plan_round(mixture, number=number, seed=SEED))
        for number in range(6)
    ]

    assert samples[:3] == [0, 0, 0]
    assert samples[3] > 0
    assert samples[4] + samples[5] == 17


def test_teacher_texts_alternate_over_epochs(mixture: Mixture) -> None:
    """Epoch e has text e mod K of a source, as in the paper (section 5.2)."""
    mixture = replace(mixture, shares={"teacher": 1.0})
    teacher = mixture.targets["teacher"]
    for epoch in (0, 1, K - 1, K, 2 * K + 1):
        found = {item.source: item.rows for item in epoch_of(mixture, epoch)}
        expected = {source: (teacher.rows(source)[epoch % K],) for source in range(5, SOURCES)}
        assert found == expected


def test_targets_of_an_item_are_distinct(mixture: Mixture) -> None:
    """Three of four texts each time, all equally often; a source with fewer texts has each once."""
    few = Targets.of([[[s, j] for j in range(2 if s == 6 else K)] for s in range(SOURCES)])
    mixture = replace(mixture, shares={"teacher": 1.0}, targets={"teacher": few}, targets_per_source=3)
    seen: Counter[int] = Counter()
    for epoch in range(K):
        for item in epoch_of(mixture, epoch):
            assert len(set(item.rows)) == len(item.rows) == (2 if item.source == 6 else 3)
            assert set(item.rows) <= set(few.rows(item.source))
            seen.update(item.rows if item.source != 6 else ())

    assert set(seen.values()) == {3}


def test_student_items_request_targets_per_source_samples(mixture: Mixture) -> None:
    """Their rows number the samples to generate for a source."""
    items = epoch_of(replace(mixture, targets_per_source=2), 0)

    assert {item.rows for item in items if item.generator == "student"} == {(0, 1)}


def test_gold_targets_are_used_equally_often(mixture: Mixture) -> None:
    """Four of twenty gold targets in each epoch: after five epochs each was used once, after ten twice."""
    gold = mixture.targets["gold"]
    seen: Counter[int] = Counter()
    for epoch in range(10):
        for item in epoch_of(mixture, epoch):
            if item.generator == "gold":
                assert item.rows[0] in gold.rows(item.source)
                seen.update(item.rows)
        if epoch in {4, 9}:
            assert Counter(seen.values()) == {(epoch + 1) // 5: 20}


@pytest.mark.parametrize("targets_per_source", [1, 2, 3])
def test_gold_alone_has_every_target_once(mixture: Mixture, targets_per_source: int) -> None:
    """An epoch of fine-tuning, with several references of a source in one item."""
    mixture = replace(mixture, shares={"gold": 1.0}, targets_per_source=targets_per_source)
    items = epoch_of(mixture, 1)

    assert sorted(row for item in items for row in item.rows) == list(range(2 * LABELED))
    assert all(set(item.rows) <= set(mixture.targets["gold"].rows(item.source)) for item in items)
    assert len(items) == (2 * LABELED if targets_per_source == 1 else LABELED)


def test_a_round_is_a_function_of_seed_and_number(mixture: Mixture) -> None:
    """Computed alone, again, or after others, it is the same; another seed and another epoch give another order."""
    mixture = replace(mixture, rounds_per_epoch=2)
    later = list(plan_round(mixture, number=5, seed=SEED))
    epoch_of(mixture, 0)

    assert list(plan_round(mixture, number=5, seed=SEED)) == later
    assert list(plan_round(mixture, number=5, seed=SEED + 1)) != later
    order = [[item.source for item in epoch_of(mixture, epoch)] for epoch in range(2)]
    assert order[0] != order[1]


def test_a_source_without_a_teacher_text_is_refused(mixture: Mixture) -> None:
    """The message names the source and the remedy; the text of another source is not used instead."""
    mixture = replace(mixture, inputs=np.array([4]), shares={"teacher": 1.0})
    with pytest.raises(PoolError, match=r"source 4 .*pool has none.*generate pseudo-targets"):
        plan_round(mixture, number=0, seed=SEED)


def test_gold_without_targets_is_refused(mixture: Mixture) -> None:
    """The message names the missing targets and the remedy."""
    mixture = replace(mixture, targets={**mixture.targets, "gold": Targets.of([[]] * SOURCES)})
    with pytest.raises(DataError, match=r"gold targets, but no source has one; add labeled examples"):
        plan_round(mixture, number=0, seed=SEED)
