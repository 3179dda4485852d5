"""The smallest recipe there is, as plain data."""

from typing import Any

import pytest


@pytest.fixture
def minimal() -> dict[str, Any]:
    """A name, a task, a teacher and a student; everything else has a default."""
    return {
        "name": "small",
        "task": {"forecast": {}},
        "teacher": {"model": "t5-large"},
        "student": {"model": "t5-small"},
    }
