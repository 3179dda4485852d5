from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import collate, plan_batches, positions
from understudy.training.mixture import TrainItem

BUDGET = 200
RoundData = tuple[list[TrainItem], TokenArrays, Mapping[TextGenerator, TokenArrays]]


@pytest.fixture
def material() -> RoundData:
    """Two hundred lessons of one to three targets, of many lengths; sources 0 to 9 are long."""
    rng = np.random.default_rng(0)
    sources = TokenArrays.of([[s] * (250 if s < 10 else rng.integers(1, 12)) for s in range(100)])
    texts: dict[TextGenerator, TokenArrays] = {
        name: TokenArrays.of([[row] * rng.integers(1, 15) for row in range(150)]) for name in ("gold", "student")
    }
    lessons = [
        TrainItem(
            int(rng.integers(100)), "gold" if i % 3 else "student", tuple(rng.integers(0, 150, 1 + i % 3).tolist())
        )
        for i in range(200)
    ]
    return lessons, sources, texts


def padded_tokens(batch: list[TrainItem], material: RoundData) -> int:
    """S·L + B·T, counted naively."""
    _, sources, texts = material
    source_lengths = [len(sources[lesson.source]) for lesson in batch]
    target_lengths = [len(texts[lesson.generator][row]) for lesson in batch for row in lesson.rows]
    return len(source_lengths) * max(source_lengths) + len(target_lengths) * max(target_lengths)


def plan(material: RoundData, *seed: int) -> list[list[TrainItem]]:
    """The batches of the material."""
    return plan_batches(*material, batch_tokens=BUDGET, seed=seed)


def test_no_batch_is_over_its_budget(material: RoundData) -> None:
    """But for a lesson that alone is; that one is alone."""
    batches = plan(material, 1, 2)
    over = [batch for batch in batches if padded_tokens(batch, material) > BUDGET]

    assert over
    assert all(len(batch) == 1 for batch in over)


def test_every_lesson_is_in_one_batch(material: RoundData) -> None:
    """None is lost where a batch is cut, none is taught twice."""
    assert Counter(lesson for batch in plan(material, 1, 2) for lesson in batch) == Counter(material[0])


def test_similar_lengths_meet(material: RoundData) -> None:
    """Sorting within a bucket makes fewer batches than taking the lessons as they come."""
    unsorted, current = 0, list[TrainItem]()
    for lesson in material[0]:
        if current and padded_tokens([*current, lesson], material) > BUDGET:
            unsorted, current = unsorted + 1, []
        current.append(lesson)

    assert len(plan(material, 1, 2)) < 0.9 * (unsorted + 1)


def test_the_plan_is_a_function_of_its_seed(material: RoundData) -> None:
    """The same twice; in another order for another round."""
    assert plan(material, 1, 2) == plan(material, 1, 2)
    assert plan(material, 1, 2) != plan(material, 1, 3)


def test_no_lessons_make_no_batches(material: RoundData) -> None:
    """An epoch may have more rounds than lessons."""
    assert plan(([], *material[1:]), 1) == []


def test_a_batch_holds_each_source_once() -> None:
    """Both sides are padded on the right, masks are true where there is text, and each target knows its source."""
    sources = TokenArrays.of([[5], [6, 7]])
    texts: dict[TextGenerator, TokenArrays] = {
        "gold": TokenArrays.of([[8, 2], [9, 9, 2]]),
        "teacher": TokenArrays.of([[3, 3], [4, 2]]),
    }
    lessons = [TrainItem(1, "gold", (1, 0)), TrainItem(0, "teacher", (1,))]
    batch = collate(lessons, sources, texts, pad=0)

    assert batch.source_ids_SL.tolist() == [[6, 7], [5, 0]]
    assert batch.source_mask_SL.tolist() == [[True, True], [True, False]]
    assert batch.source_of_B.tolist() == [0, 0, 1]
    assert batch.target_ids_BT.tolist() == [[9, 9, 2], [8, 2, 0], [4, 2, 0]]
    assert batch.target_mask_BT.sum(dim=1).tolist() == [3, 2, 2]
    assert positions(lessons, texts) == int(batch.target_mask_BT.sum()) == 7


def test_a_pad_that_is_a_token_is_masked() -> None:
    """A tokenizer may pad with its end: only the mask says where a text stops."""
    batch = collate(
        [TrainItem(0, "gold", (0, 1))], TokenArrays.of([[5, 2]]), {"gold": TokenArrays.of([[7, 2], [2]])}, pad=2
    )

    assert batch.target_ids_BT.tolist() == [[7, 2], [2, 2]]
    assert batch.target_mask_BT.tolist() == [[True, True], [True, False]]


def test_inputs_are_named_as_the_model_takes_them() -> None:
    """Types too: ids and rows are int64, masks are bool."""
    batch = collate([TrainItem(0, "gold", (0,))], TokenArrays.of([[5]]), {"gold": TokenArrays.of([[7]])}, pad=0)
    inputs = batch.inputs(torch.device("cpu"))

    assert {name: tensor.dtype for name, tensor in inputs.items()} == {
        "source_ids_SL": torch.int64,
        "source_mask_SL": torch.bool,
        "source_of_B": torch.int64,
        "target_ids_BT": torch.int64,
        "target_mask_BT": torch.bool,
    }
