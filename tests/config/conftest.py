"""The smallest valid recipe, as plain data."""

from typing import Any

import pytest


@pytest.fixture
def minimal() -> dict[str, Any]:
    """Returns a name, a task, a teacher and a student; all other settings have defaults."""
    return {
        "name": "small",
        "task": {"forecast": {}},
        "teacher": {"model": "t5-large"},
        "student": {"model": "t5-small"},
    }
