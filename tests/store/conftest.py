"""A store in a folder of its own."""

from pathlib import Path

import pytest

from understudy.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose folder does not exist yet."""
    return Store(tmp_path / "runs" / "store")
