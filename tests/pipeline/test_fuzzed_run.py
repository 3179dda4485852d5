import pytest
from scripts.fuzz import fuzz
from scripts.fuzzing import runs

from understudy.pipeline.run import Run


@pytest.mark.trains
def test_one_damage_of_a_finished_run_is_refused_or_written_again(finished: Run) -> None:
    """Any file of any of its stages, its records and its report; intact copies are opened with equal facts."""
    seen, failure = fuzz(runs.domain(finished.folder), 100, 22)

    assert not failure
    assert seen.total() >= 100
