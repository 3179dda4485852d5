import pytest

from understudy.report import wording
from understudy.report.facts import Facts


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.parameters(604_000), "0.60 M"),
        (wording.parameters(60_506_624), "60.5 M"),
        (wording.parameters(1_540_000_000), "1.5 B"),
        (wording.data_size(242_000_000), "242 MB"),
        (wording.duration(4031), "1 h 07 min"),
        (wording.duration(148.2), "2 min 28 s"),
        (wording.duration(41.7), "41.7 s"),
        (wording.percent(0.0004, 2), "0.04 %"),
        (wording.whole(32_008), "32 008"),
        (wording.signed(-1.25, 2), "−1.25"),
        (wording.rounded(0.0123, "ms"), "0.012 ms"),
        (wording.brackets({"value": 0.7, "low": -0.1, "high": 1.2}, scale=100, places=0), "[−10, 120]"),
        (wording.system_label("joint_teaching"), "Joint teaching"),
        (wording.metric_label("chrf"), "chrF"),
    ],
)
def test_a_number_is_said_briefly_and_with_its_unit(said: str, expected: str) -> None:
    """Three digits or so, a unit, never an exponent, and no line break inside."""
    assert said.replace(wording.THIN, " ").replace(wording.SPACE, " ") == expected


def test_what_is_not_known_is_a_dash() -> None:
    """None is never shown as zero."""
    sayings = (wording.parameters, wording.data_size, wording.percent, wording.whole, wording.rounded)
    assert {say(None) for say in sayings} == {wording.UNKNOWN}
    assert wording.brackets({"value": 1.0, "low": None, "high": None}, places=1) == ""


def test_scores_on_a_scale_of_one_keep_three_places(facts: Facts) -> None:
    """A BERTScore of 0.913 is not said as 0.9."""
    for system in facts["systems"]:
        system["scores"]["bertscore"] = {"value": 0.913, "low": 0.9, "high": 0.92, "signature": "s"}

    assert wording.max_positions(facts, "bertscore") == 3
    assert wording.max_positions(facts, "bleu") == 1
