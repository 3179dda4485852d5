import pytest

from understudy.errors import PoolError
from understudy.pool import PseudoTargetPool, show_rows

SOURCES = {"a": "the first source", "b": "the second source"}


def test_a_row_is_shown_with_its_source(pool: PseudoTargetPool) -> None:
    """The log-probability is per token, in nats."""
    (row,) = show_rows(pool, SOURCES, limit=1, seed=0, search="w w")

    assert (row.source, row.text, row.generator, row.round) == ("the second source", "w w w w", "student", 1)
    assert (row.logprob_per_token, row.tokens) == (-1.0, 4)


def test_the_draw_depends_on_the_seed_alone(pool: PseudoTargetPool) -> None:
    """Equal seeds give equal rows; over several seeds every row is drawn."""
    assert show_rows(pool, SOURCES, limit=2, seed=3) == show_rows(pool, SOURCES, limit=2, seed=3)
    shown = {(row.input_id, row.text) for seed in range(20) for row in show_rows(pool, SOURCES, limit=2, seed=seed)}
    assert len(shown) == 5


@pytest.mark.parametrize(("search", "texts"), [("GRÖSSE", 1), ("gRÖß", 1), ("FIRST", 3), ("z", 2), ("?", 0)])
def test_search_covers_text_and_source(pool: PseudoTargetPool, search: str, texts: int) -> None:
    """It is case-insensitive."""
    assert len(show_rows(pool, SOURCES, limit=9, seed=0, search=search)) == texts


def test_an_input_without_source_is_refused(pool: PseudoTargetPool) -> None:
    """The message has the number of such inputs and names one."""
    with pytest.raises(PoolError, match=r"1 of the 2 inputs .*no source.*'b'"):
        show_rows(pool, {"a": "x"}, limit=1, seed=0)
