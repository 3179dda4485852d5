from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import collate, count_positions, plan_batches
from understudy.training.items import TrainItem

BUDGET = 200
Arguments = tuple[list[TrainItem], TokenArrays, Mapping[TextGenerator, TokenArrays]]


@pytest.fixture
def arguments() -> Arguments:
    """Items, sources and texts: 200 items of one to three targets with many lengths; sources 0 to 9 are long."""
    rng = np.random.default_rng(0)
    sources = TokenArrays.of([[s] * (250 if s < 10 else rng.integers(1, 12)) for s in range(100)])
    texts: dict[TextGenerator, TokenArrays] = {
        name: TokenArrays.of([[row] * rng.integers(1, 15) for row in range(150)]) for name in ("gold", "student")
    }
    items = [
        TrainItem(
            int(rng.integers(100)), "gold" if i % 3 else "student", tuple(rng.integers(0, 150, 1 + i % 3).tolist())
        )
        for i in range(200)
    ]
    return items, sources, texts


def padded_tokens(batch: list[TrainItem], arguments: Arguments) -> int:
    """S·L + B·T, counted item by item."""
    _, sources, texts = arguments
    source_lengths = [len(sources[item.source]) for item in batch]
    target_lengths = [len(texts[item.generator][row]) for item in batch for row in item.rows]
    return len(source_lengths) * max(source_lengths) + len(target_lengths) * max(target_lengths)


def plan(arguments: Arguments, *seed: int) -> list[list[TrainItem]]:
    """The batches of the arguments."""
    return [list(batch) for batch in plan_batches(*arguments, batch_tokens=BUDGET, seed=seed)]


def test_no_batch_exceeds_its_budget(arguments: Arguments) -> None:
    """Except for an item that exceeds it alone; it gets its own batch."""
    batches = plan(arguments, 1, 2)
    over = [batch for batch in batches if padded_tokens(batch, arguments) > BUDGET]

    assert over
    assert all(len(batch) == 1 for batch in over)


def test_every_item_is_in_one_batch(arguments: Arguments) -> None:
    """None is lost between batches, none occurs twice."""
    assert Counter(item for batch in plan(arguments, 1, 2) for item in batch) == Counter(arguments[0])


def test_similar_lengths_share_a_batch(arguments: Arguments) -> None:
    """Sorting within a bucket makes fewer batches than the original order."""
    unsorted, current = 0, list[TrainItem]()
    for item in arguments[0]:
        if current and padded_tokens([*current, item], arguments) > BUDGET:
            unsorted, current = unsorted + 1, []
        current.append(item)

    assert len(plan(arguments, 1, 2)) < 0.9 * (unsorted + 1)


def test_the_plan_is_a_function_of_its_seed(arguments: Arguments) -> None:
    """The same for equal seeds; another order for another round."""
    assert plan(arguments, 1, 2) == plan(arguments, 1, 2)
    assert plan(arguments, 1, 2) != plan(arguments, 1, 3)


def test_parts_of_a_plan_are_those_of_the_whole(arguments: Arguments) -> None:
    """Any micro-batch, the last ones, and any item of a micro-batch, by the rules of lists."""
    batches, lists = plan_batches(*arguments, batch_tokens=BUDGET, seed=(1, 2)), plan(arguments, 1, 2)

    assert [list(batch) for batch in batches[3:]] == lists[3:]
    assert list(batches[-1]) == lists[-1]
    assert [batches[5][place] for place in range(-1, 1)] == [lists[5][-1], lists[5][0]]
    assert list(batches[5][1:]) == lists[5][1:]
    assert list(batches[5][2:1]) == []
    assert list(batches[5][::2]) == lists[5][::2]


def test_no_items_give_no_batches(arguments: Arguments) -> None:
    """An epoch may have more rounds than items."""
    assert plan(([], *arguments[1:]), 1) == []


def test_a_batch_holds_each_source_once() -> None:
    """Sources and targets are padded on the right, masks are true at tokens, and each target has its source's row."""
    sources = TokenArrays.of([[5], [6, 7]])
    texts: dict[TextGenerator, TokenArrays] = {
        "gold": TokenArrays.of([[8, 2], [9, 9, 2]]),
        "teacher": TokenArrays.of([[3, 3], [4, 2]]),
    }
    items = [TrainItem(1, "gold", (1, 0)), TrainItem(0, "teacher", (1,))]
    batch = collate(items, sources, texts, pad=0)

    assert batch.source_ids_SL.tolist() == [[6, 7], [5, 0]]
    assert batch.source_mask_SL.tolist() == [[True, True], [True, False]]
    assert batch.source_of_B.tolist() == [0, 0, 1]
    assert batch.target_ids_BT.tolist() == [[9, 9, 2], [8, 2, 0], [4, 2, 0]]
    assert batch.target_mask_BT.sum(dim=1).tolist() == [3, 2, 2]
    assert count_positions(items, texts) == int(batch.target_mask_BT.sum()) == 7


def test_a_pad_that_is_a_token_is_masked() -> None:
    """A tokenizer may pad with its end-of-sequence token: only the mask marks the end of a text."""
    batch = collate(
        [TrainItem(0, "gold", (0, 1))], TokenArrays.of([[5, 2]]), {"gold": TokenArrays.of([[7, 2], [2]])}, pad=2
    )

    assert batch.target_ids_BT.tolist() == [[7, 2], [2, 2]]
    assert batch.target_mask_BT.tolist() == [[True, True], [True, False]]


def test_inputs_have_the_names_and_types_of_the_forward() -> None:
    """Ids and rows are int64, masks are bool."""
    batch = collate([TrainItem(0, "gold", (0,))], TokenArrays.of([[5]]), {"gold": TokenArrays.of([[7]])}, pad=0)
    inputs = batch.inputs(torch.device("cpu"))

    assert {name: tensor.dtype for name, tensor in inputs.items()} == {
        "source_ids_SL": torch.int64,
        "source_mask_SL": torch.bool,
        "source_of_B": torch.int64,
        "target_ids_BT": torch.int64,
        "target_mask_BT": torch.bool,
    }
