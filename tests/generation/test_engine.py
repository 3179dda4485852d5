import pytest

from understudy.generation.batches import batches_by_length
from understudy.generation.engine import allowed_threads


@pytest.mark.parametrize("budget", [1, 12, 40, 10_000])
def test_batches_hold_every_source_once_within_the_budget(budget: int) -> None:
    """Rows times longest source stay within the budget, except where one source is more than that."""
    sources = [[0] * length for length in (3, 1, 9, 4, 4, 2, 7)]
    batches = batches_by_length(sources, rows_per_source=2, batch_tokens=budget)

    assert sorted(index for batch in batches for index in batch) == list(range(len(sources)))
    for batch in batches:
        padded = len(batch) * 2 * max(len(sources[index]) for index in batch)
        assert padded <= budget or len(batch) == 1


def test_long_sources_come_first() -> None:
    """If memory does not suffice, the first batch fails."""
    assert batches_by_length([[1], [1, 2, 3], [1, 2]], rows_per_source=1, batch_tokens=3) == [[1], [2], [0]]


@pytest.mark.parametrize(
    ("requested", "threads"), [("1", 1), ("3", 3), ("3,2", 3), ("64", 4), ("0", 4), ("many", 4), (None, 4)]
)
def test_threads_are_the_cores_or_what_the_environment_allows(
    monkeypatch: pytest.MonkeyPatch, requested: str | None, threads: int
) -> None:
    """OMP_NUM_THREADS limits this engine too: a study gives each of its processes one thread."""
    monkeypatch.setattr("understudy.generation.engine.cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if requested is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", requested)

    assert allowed_threads() == threads
