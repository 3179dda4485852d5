"""The plan of a mixture whose number of targets per source is `auto`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from tests.training.test_mixture import LABELED, SEED, SOURCES, K, epoch_of, mixture

from understudy.pool.token_arrays import Targets
from understudy.records import TextGenerator
from understudy.training.items import TrainItem
from understudy.training.mixture import AutoTargets, Mixture, plan_round
from understudy.training.schedules import StudentShare

__all__ = ["mixture"]
EPOCHS = 2 * K


@pytest.fixture
def auto(mixture: Mixture) -> Mixture:
    """The mixture with four targets per source, in a training of eight epochs."""
    return replace(mixture, targets_per_source=K, auto=AutoTargets(EPOCHS, 100.0, 20.0, K))


def targets_by_generator(items: Iterable[TrainItem]) -> Counter[TextGenerator]:
    """How many targets of each origin are trained on."""
    found: Counter[TextGenerator] = Counter()
    for item in items:
        found[item.generator] += len(item.rows)
    return found


def test_k_epochs_have_every_input_once_with_k_texts(auto: Mixture) -> None:
    """No input twice, no text twice; the next epochs divide another order."""
    teacher = auto.targets["teacher"]
    auto = replace(auto, shares={"teacher": 1.0})
    for first in (0, K):
        items = [item for epoch in range(first, first + K) for item in epoch_of(auto, epoch)]
        assert sorted(item.source for item in items) == list(range(5, SOURCES))
        assert all(sorted(item.rows) == list(teacher.rows(item.source)) for item in items)
    inputs = [{item.source for item in epoch_of(auto, epoch)} for epoch in (0, K)]
    assert inputs[0] != inputs[1]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_epochs_have_as_many_targets_of_each_origin_as_with_one_per_source(mixture: Mixture, k: int) -> None:
    """Gold exactly; teacher and student within one input's targets, and exactly over the epochs of one order."""
    auto = replace(mixture, targets_per_source=k, auto=AutoTargets(2 * k, 100.0, 20.0, K))
    single = [targets_by_generator(epoch_of(mixture, epoch)) for epoch in range(k)]
    found = [targets_by_generator(epoch_of(auto, epoch)) for epoch in range(k)]

    for expected, own in zip(single, found, strict=True):
        assert own["gold"] == expected["gold"]
        assert all(abs(own[name] - expected[name]) <= k for name in ("teacher", "student"))
    assert sum(found, Counter()) == sum(single, Counter())


def test_each_input_has_as_many_targets_as_the_training_has_epochs(auto: Mixture) -> None:
    """Also where the epochs are no multiple of k: the last ones use fewer targets of each input."""
    for epochs in (K, K + 1, 2 * K - 1):
        own = replace(auto, auto=AutoTargets(epochs, 100.0, 20.0, K), shares={"teacher": 1.0})
        seen: Counter[int] = Counter()
        for epoch in range(epochs):
            for item in epoch_of(own, epoch):
                seen[item.source] += len(item.rows)
        assert seen == dict.fromkeys(range(5, SOURCES), epochs)


def test_gold_targets_of_a_source_share_an_item_and_are_used_equally_often(auto: Mixture) -> None:
    """Four of twenty gold targets in each epoch: after five epochs each was used once, after ten twice."""
    gold = auto.targets["gold"]
    seen: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for epoch in range(10):
        for item in epoch_of(replace(auto, auto=AutoTargets(12, 100.0, 20.0, K)), epoch):
            if item.generator == "gold":
                assert set(item.rows) <= set(gold.rows(item.source))
                assert len(set(item.rows)) == len(item.rows)
                seen.update(item.rows)
                sizes[len(item.rows)] += 1
        if epoch in {4, 9}:
            assert Counter(seen.values()) == {(epoch + 1) // 5: 2 * LABELED}
    assert sizes == {2: 2 * LABELED}


def test_gold_groups_have_at_most_k_targets(auto: Mixture) -> None:
    """Sources with five, one and no targets: slices that end within a group divide it."""
    counts = [5, 1, 0, 2, 3]
    gold = Targets.of([[[s, j] for j in range(count)] for s, count in enumerate(counts)])
    auto = replace(auto, targets={**auto.targets, "gold": gold}, shares={"gold": 0.2, "teacher": 1.0})
    seen: Counter[int] = Counter()
    for epoch in range(11):
        own = epoch_of(replace(auto, auto=AutoTargets(12, 9.0, 1.0, K)), epoch)
        items = [item for item in own if item.generator == "gold"]
        assert sum(len(item.rows) for item in items) == 7
        assert max(len(item.rows) for item in items) <= K
        seen.update(row for item in items for row in item.rows)
        assert all(set(item.rows) <= set(gold.rows(item.source)) for item in items)

    assert seen == dict.fromkeys(range(11), 7)


@pytest.mark.parametrize("rounds_per_epoch", [1, 3])
@pytest.mark.parametrize("student_from_round", [0, 2, 5, 100])
def test_the_inputs_of_an_epoch_do_not_depend_on_where_student_samples_begin(
    auto: Mixture, rounds_per_epoch: int, student_from_round: int
) -> None:
    """Each input once in k epochs, in any round."""
    auto = replace(auto, rounds_per_epoch=rounds_per_epoch, student_from_round=student_from_round)
    found = [item.source for epoch in range(K) for item in epoch_of(auto, epoch) if item.generator != "gold"]

    assert sorted(found) == list(range(5, SOURCES))


def test_a_source_with_fewer_texts_repeats_them(auto: Mixture) -> None:
    """So that it weighs as much as any other."""
    few = Targets.of([[[s, j] for j in range(3 if s == 6 else K)] for s in range(SOURCES)])
    auto = replace(auto, shares={"teacher": 1.0}, targets={"teacher": few})
    (item,) = [item for epoch in range(K) for item in epoch_of(auto, epoch) if item.source == 6]
    first = few.rows(6)[0]

    assert item.rows == (first, first + 1, first + 2, first)


def test_a_changing_student_share_divides_the_same_inputs(auto: Mixture) -> None:
    """The share holds for targets; gold takes the place of inputs, target by target."""
    auto = replace(auto, student_share=StudentShare("growing", 200.0), shares={"gold": 0.5, "student": 0.5})
    for share in (0.0, 0.3, 1.0):
        found = sum(
            (targets_by_generator(plan_round(auto, number=e, seed=SEED, student_share=share)) for e in range(K)),
            Counter(),
        )
        assert found.total() == K * (SOURCES - 5)
        assert found["student"] == K * round((SOURCES - 5) * share)


def test_the_plan_is_a_function_of_seed_and_round(auto: Mixture) -> None:
    """Computed alone, again, or after others, it is the same; another seed gives another part of the inputs."""
    later = list(plan_round(auto, number=5, seed=SEED))
    epoch_of(auto, 0)

    assert list(plan_round(auto, number=5, seed=SEED)) == later
    other = plan_round(auto, number=5, seed=SEED + 1)
    assert set(np.unique(other.sources).tolist()) != {item.source for item in later}
