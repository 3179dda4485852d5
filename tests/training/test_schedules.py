from dataclasses import replace

import numpy as np
import pytest

from understudy.training.mixture import Mixture, plan_round
from understudy.training.schedules import StudentShare, TAIDSchedule


def test_taid_is_never_behind_the_line() -> None:
    """Without state it is on the straight line from start to 1."""
    schedule = TAIDSchedule(start=0.4, step=5e-4, momentum=0.99)

    assert [schedule.interpolation({}, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.7, 1.0])


def test_taid_is_faster_where_the_loss_decreases() -> None:
    """By the step times a sigmoid of the relative decrease, as computed by hand; never beyond the teacher."""
    schedule = TAIDSchedule(start=0.0, step=0.5, momentum=0.5)
    constant = schedule.update({"taid_loss": 2.0}, 0.0, 2.0)
    decreasing = schedule.update({"taid_loss": 2.0}, 0.0, 1.0)

    assert constant["taid_t"] == pytest.approx(0.25)
    assert decreasing["taid_t"] == pytest.approx(0.5 / (1 + np.exp(-0.25)))
    assert decreasing["taid_loss"] == 1.0
    assert schedule.interpolation({"taid_t": 1.2}, 0.1) == 1.0


def test_a_growing_share_follows_imitkd() -> None:
    """1 - 200^(-t): nothing at first, nearly all at the end."""
    schedule = StudentShare("growing", 200.0)

    shares = [schedule.share({}, progress) for progress in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.0, 1 - 200**-0.5, 0.995])
    assert schedule.update({}, worse=True) == {}


def test_an_adaptive_share_is_raised_when_dev_gets_worse() -> None:
    """Once for each worse evaluation, to at most 1."""
    schedule, state = StudentShare("adaptive", 0.4), dict[str, float]()
    shares = []
    for worse in (False, True, True, True):
        state |= schedule.update(state, worse=worse)
        shares.append(schedule.share(state, 0.5))

    assert shares == pytest.approx([0.0, 0.4, 0.8, 1.0])


@pytest.mark.parametrize(("student", "teacher", "gold"), [(0.0, 4, 4), (0.5, 2, 2), (1.0, 0, 0)])
def test_with_a_student_share_an_epoch_has_as_many_items_as_inputs(
    mixture: Mixture, student: float, teacher: int, gold: int
) -> None:
    """The rest is divided between gold and teacher by their shares."""
    mixture = replace(mixture, shares={"gold": 1.0, "teacher": 1.0, "student": 1.0})
    items = plan_round(mixture, number=0, seed=3, student_share=student)
    counts = {name: sum(item.generator == name for item in items) for name in ("student", "teacher", "gold")}

    assert counts == {"student": 8 * student, "teacher": teacher, "gold": gold}
