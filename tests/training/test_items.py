"""Items in columns: as lists of items, at a fraction of their memory."""

import tracemalloc
from dataclasses import replace

import numpy as np

from understudy.pool.token_arrays import Ints, Targets, TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import plan_batches
from understudy.training.items import TrainItem, TrainItems
from understudy.training.mixture import Mixture, plan_round

ITEMS = [TrainItem(3, "gold", (4, 5)), TrainItem(0, "student", (0,)), TrainItem(1, "teacher", (9, 7, 8))]
INPUTS = 20_000


def test_packed_items_are_returned_as_they_were() -> None:
    """All of them, one of them, a part of them, and in another order."""
    items = TrainItems.of(ITEMS)

    assert list(items) == ITEMS
    assert [items[-1], items[0]] == [ITEMS[-1], ITEMS[0]]
    assert list(items[1:]) == ITEMS[1:]
    assert list(items.take(np.array([2, 0]))) == [ITEMS[2], ITEMS[0]]
    assert list(TrainItems.joined(items[:1], items[1:])) == ITEMS
    assert list(TrainItems.joined()) == []


def test_rows_of_student_samples_are_replaced() -> None:
    """By as many as there are; the rows of other items stay."""
    items = TrainItems.of(ITEMS)
    found = items.with_rows(items.of_generator("student"), TrainItems.of([ITEMS[1]._replace(rows=(6, 2))]))

    assert list(found) == [ITEMS[0], ITEMS[1]._replace(rows=(6, 2)), ITEMS[2]]


def test_each_row_gets_the_value_of_its_own_generators_text() -> None:
    """Row 5 of gold is another text than row 5 of the teacher."""
    values: dict[TextGenerator, Ints] = {
        "gold": np.arange(10),
        "teacher": 100 + np.arange(10),
        "student": 200 + np.arange(10),
    }

    assert TrainItems.of(ITEMS).per_row(values).tolist() == [4, 5, 200, 109, 107, 108]


def test_an_item_of_all_targets_is_made_for_each_source_that_has_some() -> None:
    """Sources without a target have no item."""
    targets = Targets.of([[[1], [2, 3]], [], [[4]]])

    assert list(TrainItems.of_all("teacher", targets)) == [
        TrainItem(0, "teacher", (0, 1)),
        TrainItem(2, "teacher", (2,)),
    ]


def test_a_round_needs_no_python_object_per_input() -> None:
    """Its plan and its micro-batches need less than 100 bytes per item; an object of each item needs 200 more."""
    one = np.ones(INPUTS, np.int64)
    sources = TokenArrays(np.ones(INPUTS, np.int32), np.arange(INPUTS + 1))
    targets = Targets(replace(sources), np.arange(INPUTS + 1))
    mixture = Mixture(sources, {"teacher": targets}, {"teacher": 1.0}, np.cumsum(one) - 1)
    plan_round(mixture, number=0, seed=0)
    tracemalloc.start()
    items = plan_round(mixture, number=0, seed=0)
    batches = plan_batches(items, sources, {"teacher": targets.texts}, batch_tokens=500, seed=(0, 0))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sum(map(len, batches)) == INPUTS
    assert held < 100 * INPUTS
    assert peak < 300 * INPUTS
