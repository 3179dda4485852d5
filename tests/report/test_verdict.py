from collections.abc import Callable

import pytest

from understudy.report.content_facts import Interval
from understudy.report.facts import NOT_MEASURED, Facts
from understudy.report.formatting import SPACE, THIN
from understudy.report.verdict import five_numbers, verdict, verdict_kind

WithResult = Callable[[Interval | None, Interval], Facts]
NO_GAP: Interval = {**NOT_MEASURED, "note": "on bleu the teacher is not clearly better."}


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def around(value: float, half: float) -> Interval:
    """A symmetric interval."""
    return {"value": value, "low": value - half, "high": value + half}


def test_a_clear_gain_is_stated_as_the_share_of_the_gap(facts: Facts) -> None:
    """The sentence gives the share with its interval, the metric, the size and the speed."""
    text = plain(verdict(facts))

    assert "(0.60 M parameters, 7.1 times smaller and 4.2 times faster than the teacher)" in text
    assert "closes 71 % [62, 80] of the gap in BLEU" in text


@pytest.mark.parametrize(
    ("difference", "gap", "kind", "parts"),
    [
        (around(-1.2, 0.8), around(-0.2, 0.1), "worse", ("worse than the fine-tuned student", "−1.2 [−2.0, −0.4]")),
        (around(0.2, 0.5), around(0.03, 0.1), "undecided", ("within noise", "+0.2 [−0.3, 0.7]", "includes 0")),
        ({**NOT_MEASURED, "value": 0.2}, NO_GAP, "undecided", ("within noise", "+0.2 without an interval)")),
        (
            around(2.2, 0.5),
            NO_GAP,
            "better",
            (
                "better than the fine-tuned student",
                "+2.2 [1.7, 2.7]",
                "gap unknown",
                "on bleu the teacher is not clearly better.",
            ),
        ),
        (
            around(6.3, 0.5),
            around(1.04, 0.17),
            "near_teacher",
            ("matches the teacher", "within noise", "104 % [87, 121] of the gap"),
        ),
        (
            around(7.3, 0.5),
            around(1.2, 0.17),
            "above_teacher",
            ("better than the teacher", "64.1 versus 65.9", "120 % [103, 137] of the gap"),
        ),
        (None, NO_GAP, "no_baseline", ("64.1 in BLEU", "the teacher 65.9", "no fine-tuned student")),
    ],
)
def test_the_verdict_claims_what_the_intervals_allow(
    with_result: WithResult, difference: Interval | None, gap: Interval, kind: str, parts: tuple[str, ...]
) -> None:
    """Each possible result has its own sentence, including the bad ones, and names the metric."""
    facts = with_result(difference, gap)
    text = plain(verdict(facts))

    assert verdict_kind(facts) == kind
    for part in (*parts, "BLEU"):
        assert part in text
    assert text.endswith(".")
    assert not text.endswith("..")


def test_the_verdict_uses_the_label_of_the_facts(facts: Facts) -> None:
    """A metric that the report has never seen has the label of its score."""
    for system in facts["systems"]:
        system["scores"]["bleu"]["label"] = "My own"

    assert "of the gap in My own" in plain(verdict(facts))


def test_references_by_the_teacher_are_mentioned(with_result: WithResult) -> None:
    """The teacher's second response is the value to compare with."""
    facts = with_result(None, NO_GAP)
    facts["references_by_teacher"] = True

    text = plain(verdict(facts))
    assert "64.1" in text
    assert "references written by the teacher" in text
    assert "second response of the teacher scores 65.9" in text
    assert ("BLEU of the teacher", "65.9 (a second response)") in five_numbers(facts)


def test_the_share_decides_where_no_difference_is_given(with_result: WithResult) -> None:
    """A share has the sign of the difference."""
    assert verdict_kind(with_result(None, around(0.1, 0.2))) == "undecided"
    assert verdict_kind(with_result(None, around(-0.4, 0.2))) == "worse"


def test_a_student_that_saves_nothing_is_described_as_such(facts: Facts) -> None:
    """A student of equal size is no smaller, and a slower student is called slower."""
    teacher, _, student = facts["systems"]
    teacher["parameters"], teacher["latency_ms"]["p50"] = student["parameters"], 4.6

    assert "(0.60 M parameters, no smaller and 2.0 times slower than the teacher)" in plain(verdict(facts))


def test_an_api_teacher_is_not_compared_in_size_and_speed(facts: Facts) -> None:
    """Its number of parameters and its latency are unknown."""
    facts["systems"][0] |= {"parameters": None, "latency_ms": {"p50": None, "p95": None}}

    assert plain(verdict(facts)).startswith("The distilled student (0.60 M parameters) closes")


def test_five_numbers_are_printed_in_the_terminal(facts: Facts) -> None:
    """Each has a label, a value and what to compare it with."""
    assert [(label, plain(value)) for label, value in five_numbers(facts)] == [
        ("Gap closed in BLEU", "71 % ([62, 80])"),
        ("BLEU", "64.1 (fine-tuned 59.8, teacher 65.9)"),
        ("Parameters", "0.60 M (7.1 times smaller than the teacher)"),
        ("Latency, median", "9.2 ms (4.2 times faster than the teacher)"),
        ("Throughput", "435 /s (4.2 times higher than the teacher)"),
    ]
