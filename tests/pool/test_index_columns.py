"""The columns of an indexed pool are those of the rows merged one by one."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.columns import BLOCK_ROWS
from understudy.pool import write_pool_file
from understudy.pool.pool_files import table_of
from understudy.pool.pool_index import PoolPart, read_indexed, write_index
from understudy.pool.rows import mark_copies
from understudy.pool.token_arrays import TokenArrays
from understudy.records import PseudoTarget


def merge_rows(blocks: Iterable[Iterable[PseudoTarget]], input_ids: Iterable[str]) -> list[PseudoTarget]:
    """The rows of several blocks in one list, grouped by input.

    The samples of an input are renumbered from 0 in the order of the blocks, and copies are counted over all of them.

    Args:
        blocks: rows of each block.
        input_ids: of all inputs, in the order of the result.
    """
    rows_by_input: dict[str, list[PseudoTarget]] = {input_id: [] for input_id in input_ids}
    for row in chain.from_iterable(blocks):
        rows_by_input[row.input_id].append(row)
    return mark_copies(
        [replace(row, sample=sample) for rows in rows_by_input.values() for sample, row in enumerate(rows)]
    )


INPUTS = ("x", "y", "z")
BLOCKS = st.lists(
    st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=3, max_size=3), min_size=1, max_size=3
)


@settings(max_examples=30, deadline=None)
@given(blocks=BLOCKS, order=st.permutations(INPUTS), per_input=st.integers(1, 5))
def test_merged_columns_equal_merged_rows(blocks: list[list[list[str]]], order: list[str], per_input: int) -> None:
    """Order, samples, copies and token ids, for inputs with none to three texts in each part."""
    with tempfile.TemporaryDirectory() as place:
        folder, parts, expected = Path(place), [], []
        for number, block in enumerate(blocks):
            (folder / f"part{number}").mkdir()
            rows = [
                PseudoTarget(str(i), "teacher", 0, k, (ord(text), number), text, -float(k))
                for i, texts in enumerate(block)
                for k, text in enumerate(texts)
            ]
            write_pool_file(folder / f"part{number}" / "pool-00000.parquet", rows, {})
            parts.append(PoolPart(f"../part{number}", INPUTS, number))
            kept = [replace(r, input_id=INPUTS[int(r.input_id)]) for r in rows if number + r.sample < per_input]
            expected.append(kept)
        (folder / "pool").mkdir()
        write_index(folder / "pool", parts, input_ids=order, per_input=per_input)

        found = read_indexed(folder / "pool")

        assert found is not None
        assert found.table.to_pylist() == table_of(merge_rows(expected, order)).to_pylist()
        assert found.table.schema == table_of([]).schema


def test_texts_encoded_in_blocks_equal_texts_encoded_at_once() -> None:
    """Across the bound of a block, empty texts included."""
    texts = [list(range(number % 4)) for number in range(BLOCK_ROWS + 3)]

    assert TokenArrays.encoded(lambda some: some, texts).flat.tolist() == TokenArrays.of(texts).flat.tolist()
    assert TokenArrays.encoded(lambda some: some, texts).take([3, 0, 2])[2].tolist() == [0, 1]  # type: ignore[arg-type]
