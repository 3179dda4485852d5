"""A small pool for the tests of this package."""

from pathlib import Path

import pytest

from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.records import PseudoTarget


@pytest.fixture
def targets() -> list[PseudoTarget]:
    """Three texts for each of two inputs; 1 ends a text, the third text of 'b' is truncated."""
    return [
        PseudoTarget("a", "teacher", 0, 0, (5, 6, 1), "x y", -3.0),
        PseudoTarget("a", "teacher", 0, 1, (5, 6, 1), "x y", -3.0),
        PseudoTarget("a", "teacher", 0, 2, (7, 1), "z", -1.0),
        PseudoTarget("b", "teacher", 0, 0, (7, 1), "z", -2.0),
        PseudoTarget("b", "teacher", 0, 1, (8, 1), "Größe", float("nan")),
        PseudoTarget("b", "student", 1, 2, (8, 8, 8, 8), "w w w w", -4.0),
    ]


@pytest.fixture
def pool(tmp_path: Path, targets: list[PseudoTarget]) -> PseudoTargetPool:
    """The same texts, read from two files."""
    write_pool_file(tmp_path / "00000.parquet", targets[:3], {"seed": "1"})
    write_pool_file(tmp_path / "00001.parquet", targets[3:], {"seed": "1"})
    return PseudoTargetPool.open(tmp_path)
