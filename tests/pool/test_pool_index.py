"""A pool made of the files of other folders."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from understudy.errors import PoolError, StoreError
from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.pool.pool_index import INDEX, PoolPart, read_indexed, write_index
from understudy.records import PseudoTarget


def write_part(folder: Path, texts: Sequence[Sequence[str]], *, teacher: str = "t") -> None:
    """Writes the texts of inputs 0, 1, ... as the pool file of a folder."""
    folder.mkdir()
    rows = [
        PseudoTarget(str(number), "teacher", 0, sample, (5, 1), text, -1.0)
        for number, own in enumerate(texts)
        for sample, text in enumerate(own)
    ]
    write_pool_file(folder / "pool-00000.parquet", rows, {"teacher": teacher})


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index of two blocks of inputs, of which the first has two ranges of texts."""
    write_part(tmp_path / "first", [["a0"], ["b0"]])
    write_part(tmp_path / "more", [["a1", "a0", "a3"], ["b1", "b2", "b3"]])
    write_part(tmp_path / "second", [["c0", "c1", "c2"]])
    parts = [
        PoolPart("../first", ("a", "b"), 0),
        PoolPart("../second", ("c",), 0),
        PoolPart("../more", ("a", "b"), 1),
    ]
    (tmp_path / "pool").mkdir()
    write_index(tmp_path / "pool", parts, input_ids=["c", "b", "a"], per_input=3)
    return tmp_path / "pool"


def test_a_pool_opens_on_its_index(index: Path) -> None:
    """Inputs have the ids and the order of the index; texts of one input follow each other as the parts do."""
    pool = PseudoTargetPool.open(index)

    assert {name: [row.text for row in pool.targets_of(name)] for name in pool.inputs} == {
        "c": ["c0", "c1", "c2"],
        "b": ["b0", "b1", "b2"],
        "a": ["a0", "a1", "a0"],
    }
    assert list(pool.inputs) == ["c", "b", "a"]
    assert pool.provenance == {"teacher": "t"}


def test_texts_beyond_the_requested_number_are_left_out(index: Path) -> None:
    """Samples are renumbered over the parts, and copies are counted over what is left."""
    rows = PseudoTargetPool.open(index).targets_of("a")

    assert [row.sample for row in rows] == [0, 1, 2]
    assert [row.copies for row in rows] == [2, 1, 2]


def test_nothing_is_copied(index: Path) -> None:
    """The folder holds the index alone."""
    assert [path.name for path in index.iterdir()] == [INDEX]


def test_a_folder_without_an_index_has_none(tmp_path: Path) -> None:
    """It is a folder of pool files then."""
    assert read_indexed(tmp_path) is None


def test_a_deleted_part_is_named(index: Path, tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "second" / "pool-00000.parquet").unlink()

    with pytest.raises(PoolError, match=r"second.*deleted.*run the recipe again"):
        PseudoTargetPool.open(index)


def test_a_damaged_index_is_refused(index: Path) -> None:
    """Instead of a pool with fewer texts."""
    (index / INDEX).write_text('{"parts": []}')

    with pytest.raises(StoreError, match=r"damaged.*delete the folder"):
        PseudoTargetPool.open(index)


def test_parts_of_two_provenances_are_refused(index: Path, tmp_path: Path) -> None:
    """As two pool files in one folder are."""
    (tmp_path / "second" / "pool-00000.parquet").unlink()
    (tmp_path / "second").rmdir()
    write_part(tmp_path / "second", [["c0", "c1", "c2"]], teacher="other")

    with pytest.raises(PoolError, match=r"teacher is 't' and 'other'"):
        PseudoTargetPool.open(index)
