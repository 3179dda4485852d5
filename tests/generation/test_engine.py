import pytest

from understudy.generation.engine import batches_by_length


@pytest.mark.parametrize("budget", [1, 12, 40, 10_000])
def test_batches_hold_every_source_once_within_the_budget(budget: int) -> None:
    """Rows times longest source stay within the budget, except where one source is more than that."""
    sources = [[0] * length for length in (3, 1, 9, 4, 4, 2, 7)]
    batches = batches_by_length(sources, rows_per_source=2, token_budget=budget)

    assert sorted(index for batch in batches for index in batch) == list(range(len(sources)))
    for batch in batches:
        padded = len(batch) * 2 * max(len(sources[index]) for index in batch)
        assert padded <= budget or len(batch) == 1


def test_long_sources_come_first() -> None:
    """Memory runs out at once or not at all."""
    assert batches_by_length([[1], [1, 2, 3], [1, 2]], rows_per_source=1, token_budget=3) == [[1], [2], [0]]
