from collections.abc import Iterator

import pytest
from tests.running_server import Served, serving

from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.records import Prediction


@pytest.fixture(scope="session")
def served(finished: Run) -> Iterator[Served]:
    """A server with the default limits."""
    with serving(finished.folder) as running:
        yield running


@pytest.fixture(scope="session")
def predictions(finished: Run) -> list[Prediction]:
    """The texts of the student that were scored."""
    run = open_run(finished.folder)
    return list(read_predictions(run.predictions(run.facts["method"]) / "test.jsonl"))
