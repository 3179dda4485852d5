from collections.abc import Callable

import pytest

from understudy.report.facts import NOTHING, Facts, Interval
from understudy.report.verdict import five_numbers, standing, verdict
from understudy.report.wording import SPACE, THIN

WithResult = Callable[[Interval | None, Interval], Facts]
NO_GAP: Interval = {**NOTHING, "note": "on bleu the teacher is not clearly better."}


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def around(value: float, half: float) -> Interval:
    """A symmetric interval."""
    return {"value": value, "low": value - half, "high": value + half}


def test_a_clear_gain_is_said_as_the_share_of_the_gap(facts: Facts) -> None:
    """Size and speed stand beside it, and the interval is not left out."""
    assert plain(verdict(facts)) == (
        "The distilled student (0.60 M parameters, 7.1 times smaller and 4.2 times faster than the teacher) "
        "closes 71 % [62, 80] of the gap in BLEU between the fine-tuned student and the teacher."
    )


@pytest.mark.parametrize(
    ("difference", "gap", "stands", "said"),
    [
        (
            around(-1.2, 0.8),
            around(-0.2, 0.1),
            "worse",
            "is worse than the fine-tuned student in BLEU (−1.2 [−2.0, −0.4]): distillation did not help here.",
        ),
        (
            around(0.2, 0.5),
            around(0.03, 0.1),
            "undecided",
            "cannot be told apart from the fine-tuned student in BLEU (+0.2 [−0.3, 0.7], which includes zero).",
        ),
        (
            {**NOTHING, "value": 0.2},
            NO_GAP,
            "undecided",
            "cannot be told apart from the fine-tuned student in BLEU (+0.2 without an interval).",
        ),
        (
            around(2.2, 0.5),
            NO_GAP,
            "better",
            (
                "is better than the fine-tuned student in BLEU (+2.2 [1.7, 2.7]); "
                "no share of the gap is given: on bleu the teacher is not clearly better."
            ),
        ),
        (
            around(6.3, 0.5),
            around(1.04, 0.17),
            "near_teacher",
            "is level with the teacher in BLEU: it closes 104 % [87, 121] of the gap.",
        ),
        (
            around(7.3, 0.5),
            around(1.2, 0.17),
            "above_teacher",
            "beats the teacher in BLEU, 64.1 against 65.9: it closes 120 % [103, 137] of the gap.",
        ),
        (
            None,
            NO_GAP,
            "no_baseline",
            "scores 64.1 in BLEU, the teacher 65.9; it was not compared with a fine-tuned student.",
        ),
    ],
)
def test_the_verdict_claims_what_the_intervals_allow(
    with_result: WithResult, difference: Interval | None, gap: Interval, stands: str, said: str
) -> None:
    """Each possible result has its own sentence, the unwelcome ones included."""
    facts = with_result(difference, gap)

    assert standing(facts) == stands
    assert plain(verdict(facts)).endswith(f"than the teacher) {said}")


def test_the_share_decides_where_no_difference_is_given(with_result: WithResult) -> None:
    """A share has the sign of the advantage."""
    assert standing(with_result(None, around(0.1, 0.2))) == "undecided"
    assert standing(with_result(None, around(-0.4, 0.2))) == "worse"


def test_a_student_that_saves_nothing_is_not_praised(facts: Facts) -> None:
    """Equal size is said as such, and a slower student is called slower."""
    teacher, _, student = facts["systems"]
    teacher["parameters"], teacher["latency_ms"]["p50"] = student["parameters"], 4.6

    assert "(0.60 M parameters, no smaller and 2.0 times slower than the teacher)" in plain(verdict(facts))


def test_a_teacher_behind_an_endpoint_is_not_compared(facts: Facts) -> None:
    """What is not known of the teacher is not said."""
    facts["systems"][0] |= {"parameters": None, "latency_ms": {"p50": None, "p95": None}}

    assert plain(verdict(facts)).startswith("The distilled student (0.60 M parameters) closes")


def test_five_numbers_go_to_the_terminal(facts: Facts) -> None:
    """Each has a label, a value and what to compare it with."""
    assert [(label, plain(value)) for label, value in five_numbers(facts)] == [
        ("Gap closed in BLEU", "71 % ([62, 80])"),
        ("BLEU", "64.1 (fine-tuned 59.8, teacher 65.9)"),
        ("Parameters", "0.60 M (7.1 times smaller than the teacher)"),
        ("Latency, median", "9.2 ms (4.2 times faster than the teacher)"),
        ("Throughput", "435 /s (4.2 times more than the teacher)"),
    ]
