"""A store in a folder of its own."""

from pathlib import Path

import pytest

from understudy.progress import NoProgress
from understudy.store import Store, WorkerContext


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose folder does not exist yet."""
    return Store(tmp_path / "runs" / "store")


@pytest.fixture
def context(store: Store) -> WorkerContext:
    """The context of stages that this process makes in the store."""
    return WorkerContext(store, NoProgress())
