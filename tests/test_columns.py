"""Examples as columns are the sequence that a list of the same examples is, in a tenth of its memory."""

import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.columns import (
    BLOCK_ROWS,
    TEXT,
    Examples,
    TextColumn,
    Texts,
    codes_of,
    grouped,
    open_rows,
    places,
    save_rows,
)
from understudy.records import Example
from understudy.store.stage import content_key, rows_key

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
EXAMPLES = st.lists(st.builds(Example, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple)), max_size=8)
BOUNDS = st.none() | st.integers(-10, 10)


@settings(deadline=None)
@given(EXAMPLES, BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, -1, -3]))
def test_slices_and_items_are_those_of_a_list(rows: list[Example], start: int, stop: int, step: int) -> None:
    """Whatever the bounds; what is compared are examples, on both sides of `==`."""
    own = Examples.of(rows)

    assert own == rows
    assert tuple(rows) == own
    assert list(own) == rows
    assert [own[index] for index in range(-len(rows), len(rows))] == rows * 2
    assert own[start:stop:step] == rows[start:stop:step]
    assert own[start:stop] == Examples.of(rows[start:stop])
    assert list(own.sources()) == [row.source for row in rows]
    assert list(own.targets()) == [text for row in rows for text in row.targets]
    assert own.target_counts().tolist() == [len(row.targets) for row in rows]
    for index in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            own[index]


@settings(deadline=None)
@given(EXAMPLES, EXAMPLES, st.data())
def test_parts_are_those_of_a_list(rows: list[Example], others: list[Example], data: st.DataObject) -> None:
    """Joined, taken in any order, left out, without targets; another sequence of examples is not equal."""
    own = Examples.of(rows)
    taken = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []

    assert Examples.joined(own, others) == [*rows, *others]
    assert own.take(np.array(taken, np.int64)) == [rows[index] for index in taken]
    assert own.without(taken) == [row for index, row in enumerate(rows) if index not in taken]
    assert own.without_targets() == [Example(row.id, row.source) for row in rows]
    assert own[1:].without_targets() == [Example(row.id, row.source) for row in rows[1:]]
    assert (own == others) == (rows == others)
    assert own != "no examples"


@settings(max_examples=20, deadline=None)
@given(EXAMPLES)
def test_a_file_holds_what_was_saved(tmp_path_factory: pytest.TempPathFactory, rows: list[Example]) -> None:
    """Also of a slice, which does not start at the first row."""
    path: Path = tmp_path_factory.mktemp("columns") / "own.arrow"
    for kept in (rows, rows[1:]):
        Examples.of(rows)[len(rows) - len(kept) :].save(path)
        assert Examples.open(path) == kept


@settings(deadline=None)
@given(st.lists(st.integers(0, 9)))
def test_rows_are_saved_in_their_order(tmp_path_factory: pytest.TempPathFactory, rows: list[int]) -> None:
    """An order of a draw is not sorted."""
    path = tmp_path_factory.mktemp("rows") / "order.arrow"
    save_rows(path, np.array(rows, np.int64))

    assert open_rows(path).tolist() == rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"))))
def test_targets_are_grouped_by_owner_without_copies(pairs: list[tuple[int, str]]) -> None:
    """As a dictionary of each owner's texts does it."""
    expected: list[dict[str, None]] = [{} for _ in range(4)]
    for owner, text in pairs:
        expected[owner][text] = None
    column = TextColumn()
    for _, text in pairs:
        column.append(text)
    owners = np.array([owner for owner, _ in pairs], np.int64)

    assert grouped(owners, column.array(), 4).to_pylist() == [list(texts) for texts in expected]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=6), st.lists(st.sampled_from("abcdef"), unique=True))
def test_values_are_found_and_numbered(names: list[str], among: list[str]) -> None:
    """Places are those of `list.index`, -1 for what is missing; numbers are those of first occurrence."""
    ids, others = (pa.chunked_array([pa.array(own, pa.string())]) for own in (names, among))
    first = list(dict.fromkeys(names))

    assert places(ids, others).tolist() == [among.index(name) if name in among else -1 for name in names]
    assert codes_of(ids).tolist() == [first.index(name) for name in names]


def test_texts_are_read_by_the_rules_of_lists() -> None:
    """One of them, some of them, and all of them, over the borders of chunks."""
    texts = Texts(pa.chunked_array([["a", "b"], [], ["", "d"]], TEXT))

    assert list(texts) == ["a", "b", "", "d"]
    assert (len(texts), texts[0], texts[-1], texts[2]) == (4, "a", "d", "")
    assert (texts[1:3], texts[3:1], texts[::2]) == (["b", ""], [], ["a", ""])
    with pytest.raises(IndexError):
        texts[4]


def test_a_column_of_texts_is_packed_in_blocks() -> None:
    """No text is lost at a border."""
    for count in (0, 1, BLOCK_ROWS, BLOCK_ROWS + 1):
        column = TextColumn()
        for number in range(count):
            column.append(str(number))

        assert len(column) == count
        assert column.array() == pa.array(map(str, range(count)), TEXT)


@settings(deadline=None)
@given(st.lists(st.lists(TEXTS)))
def test_the_key_of_rows_is_that_of_their_list(rows: list[list[str]]) -> None:
    """A stage that hashes them one by one keeps its key."""
    assert rows_key(iter(rows)) == content_key(rows)


def test_an_example_costs_its_texts(tmp_path: Path) -> None:
    """In memory a tenth more than its characters, where a list of examples needs several times as much."""
    count = 20_000
    rows = ((f"unlabeled-{number}", f"{number} " + "x" * 90) for number in range(count))
    tracemalloc.start()
    naive = [Example(name, source) for name, source in rows]
    objects = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    before = pa.total_allocated_bytes()
    own = Examples.of(naive)
    held = pa.total_allocated_bytes() - before
    python = tracemalloc.get_traced_memory()[1] - objects
    tracemalloc.stop()
    characters = sum(len(row.id) + len(row.source) for row in naive)

    assert held < characters + 60 * count  # three offsets, and Arrow's buffers grow by doubling
    assert objects > characters + 140 * count
    assert python < 0.2 * objects

    own.save(tmp_path / "own.arrow")
    before = pa.total_allocated_bytes()
    mapped = Examples.open(tmp_path / "own.arrow")
    assert list(islice(mapped[19_000:], 2)) == naive[19_000:19_002]
    assert pa.total_allocated_bytes() - before < 10_000
