import pytest

from understudy.report import formatting
from understudy.report.facts import Facts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formatting.parameters(604_000), "0.60 M"),
        (formatting.parameters(60_506_624), "60.5 M"),
        (formatting.parameters(1_540_000_000), "1.5 B"),
        (formatting.data_size(242_000_000), "242 MB"),
        (formatting.duration(4031), "1 h 07 min"),
        (formatting.duration(148.2), "2 min 28 s"),
        (formatting.duration(41.7), "41.7 s"),
        (formatting.percent(0.0004, 2), "0.04 %"),
        (formatting.whole(32_008), "32 008"),
        (formatting.signed(-1.25, 2), "−1.25"),
        (formatting.signed(-0.004, 2), "+0.00"),
        (formatting.fixed(-0.004, 2), "0.00"),
        (formatting.rounded(0.0123, "ms"), "0.012 ms"),
        (formatting.brackets({"value": 0.7, "low": -0.1, "high": 1.2}, scale=100, places=0), "[−10, 120]"),
        (formatting.percent_with_interval({"value": 0.7, "low": 0.6, "high": 0.8}), "70 % [60, 80]"),
        (formatting.system_label("joint_teaching"), "Distilled student"),
        (formatting.money(0.0), "0.00"),
        (formatting.money(12345.678), "12 345.68"),
        (formatting.money(0.1), "0.10"),
        (formatting.money(0.0123), "0.012"),
        (formatting.money(0.0000512), "0.000051"),
        (formatting.with_direction("WER", higher_is_better=False), "WER ↓"),
        (formatting.with_direction("BLEU", higher_is_better=True), "BLEU"),
    ],
)
def test_numbers_are_short_and_have_a_unit(text: str, expected: str) -> None:
    """About three digits and a unit, no exponent, no line break inside."""
    assert text.replace(formatting.THIN, " ").replace(formatting.SPACE, " ") == expected


def test_missing_numbers_are_a_dash() -> None:
    """None is never shown as zero."""
    formats = (
        formatting.parameters,
        formatting.data_size,
        formatting.percent,
        formatting.whole,
        formatting.rounded,
        formatting.money,
    )
    assert {format_number(None) for format_number in formats} == {formatting.UNKNOWN}
    assert formatting.brackets({"value": 1.0, "low": None, "high": None}, places=1) == ""


def test_scores_on_a_scale_of_one_keep_three_places(facts: Facts) -> None:
    """A BERTScore of 0.913 is not shown as 0.9."""
    for system in facts["systems"]:
        system["scores"]["bertscore"] = system["scores"]["bleu"] | {"value": 0.913, "low": 0.9, "high": 0.92}

    assert formatting.decimal_places(facts, "bertscore") == 3
    assert formatting.decimal_places(facts, "bleu") == 1
