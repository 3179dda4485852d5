from dataclasses import replace

import numpy as np
import pytest

from understudy.training.mixture import Mixture, plan_round
from understudy.training.schedules import StudentShare, TAIDSchedule


def test_a_moving_target_is_never_behind_the_line() -> None:
    """Without memory it stands on the straight line from start to 1."""
    moving = TAIDSchedule(start=0.4, step=5e-4, momentum=0.99)

    assert [moving.position({}, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.7, 1.0])


def test_a_moving_target_is_faster_where_the_loss_falls() -> None:
    """By the step times a sigmoid of the loss's relative fall, as computed by hand; never past the teacher."""
    moving = TAIDSchedule(start=0.0, step=0.5, momentum=0.5)
    level = moving.after({"taid_loss": 2.0}, 0.0, 2.0)
    falling = moving.after({"taid_loss": 2.0}, 0.0, 1.0)

    assert level["taid_t"] == pytest.approx(0.25)
    assert falling["taid_t"] == pytest.approx(0.5 / (1 + np.exp(-0.25)))
    assert falling["taid_loss"] == 1.0
    assert moving.position({"taid_t": 1.2}, 0.1) == 1.0


def test_a_growing_share_follows_imitkd() -> None:
    """1 - 200^(-t): nothing at first, nearly all at the end."""
    share = StudentShare("growing", 200.0)

    assert [share.at({}, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 1 - 200**-0.5, 0.995])
    assert share.after({}, worse=True) == {}


def test_an_adaptive_share_is_raised_when_dev_got_worse() -> None:
    """Once for each disappointment, to at most all of it."""
    share, memory = StudentShare("adaptive", 0.4), dict[str, float]()
    shares = []
    for worse in (False, True, True, True):
        memory |= share.after(memory, worse=worse)
        shares.append(share.at(memory, 0.5))

    assert shares == pytest.approx([0.0, 0.4, 0.8, 1.0])


@pytest.mark.parametrize(("student", "teacher", "gold"), [(0.0, 4, 4), (0.5, 2, 2), (1.0, 0, 0)])
def test_a_given_share_divides_an_epoch_of_as_many_lessons_as_inputs(
    mixture: Mixture, student: float, teacher: int, gold: int
) -> None:
    """What the student leaves is divided between gold and teacher as their shares say."""
    mixture = replace(mixture, shares={"gold": 1.0, "teacher": 1.0, "student": 1.0})
    lessons = plan_round(mixture, number=0, seed=3, student_share=student)
    counts = {name: sum(lesson.generator == name for lesson in lessons) for name in ("student", "teacher", "gold")}

    assert counts == {"student": 8 * student, "teacher": teacher, "gold": gold}
