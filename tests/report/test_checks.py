import pytest

from understudy.report.checks import teacher_checks
from understudy.report.content_facts import Interval
from understudy.report.facts import Facts


def error_rate(value: float, half: float) -> dict[str, object]:
    """The score of a metric that counts errors."""
    return {
        "value": value, "low": value - half, "high": value + half,
        "signature": "", "label": "Invented", "higher_is_better": False,
    }  # fmt: skip


@pytest.fixture
def with_errors(facts: Facts) -> Facts:
    """The teacher invents 2 facts in a hundred, the distilled student 9."""
    for system, value in zip(facts["systems"], (2.0, 12.0, 9.0), strict=True):
        system["scores"]["invented"] = error_rate(value, 1.5)  # type: ignore[assignment]
    return facts


def test_only_metrics_that_count_errors_are_checked(with_errors: Facts) -> None:
    """BLEU and ROUGE are in the table of scores."""
    (check,) = teacher_checks(with_errors)

    assert (check.label, check.value, check.detail) == ("Invented\u00a0↓", "9.0", "teacher 2.0 (worse)")
    assert check.warns


@pytest.mark.parametrize(
    ("difference", "warns"),
    [
        ({"value": -7.0, "low": -9.0, "high": -5.0}, True),
        ({"value": -7.0, "low": -15.0, "high": 1.0}, False),
        ({"value": 7.0, "low": 5.0, "high": 9.0}, False),
        ({"value": None, "low": None, "high": None}, False),
    ],
)
def test_the_paired_interval_decides(with_errors: Facts, difference: Interval, *, warns: bool) -> None:
    """A tile warns only if the whole interval is on the side of the teacher."""
    with_errors["teacher_differences"] = {"invented": difference}

    assert teacher_checks(with_errors)[0].warns is warns


@pytest.mark.parametrize(("own", "half", "warns"), [(9.0, 1.5, True), (4.0, 1.5, False), (1.0, 0.1, False)])
def test_without_a_paired_interval_the_two_intervals_must_not_overlap(
    with_errors: Facts, own: float, half: float, *, warns: bool
) -> None:
    """Facts of earlier versions have no paired interval."""
    with_errors["systems"][2]["scores"]["invented"] = error_rate(own, half)  # type: ignore[assignment]

    assert teacher_checks(with_errors)[0].warns is warns
