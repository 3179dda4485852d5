"""The section on confidence and deferral."""

from xml.etree import ElementTree as ET

import pytest

from understudy.report.confidence_facts import ConfidenceFacts, DeferralFacts, ReliabilityFacts
from understudy.report.deferral import confidence_sentences, deferral_table
from understudy.report.deferral_figures import deferral_figures
from understudy.report.facts import Facts
from understudy.report.formatting import SPACE, THIN
from understudy.report.page import render


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def point(step: int, *, on_test: float = 0.0) -> DeferralFacts:
    """A point of a curve from 64.1 to 65.9."""
    share = step / 20
    score = 64.1 + 1.8 * share**0.5
    return {
        "threshold": 0.3 + 0.4 * share,
        "deferred": min(1.0, share + on_test),
        "score": score,
        "low": score - 1,
        "high": score + 1,
        "quality": score / 65.9,
        "random": 64.1 + 1.8 * share,
        "gain": 1.8 * (share**0.5 - share),
        "gain_low": -0.1,
        "gain_high": 0.9,
    }


@pytest.fixture
def unsure(facts: Facts) -> Facts:
    """A run with confidence."""
    bins: list[ReliabilityFacts] = [
        {"probability": 0.1 + 0.08 * i, "share": 0.1 + 0.07 * i, "count": 63} for i in range(10)
    ]
    own: ConfidenceFacts = {
        "system": "joint_teaching",
        "metric": "bleu",
        "label": "BLEU",
        "higher_is_better": True,
        "signature": "bleu|n:630",
        "temperature": 1.5,
        "offset": -0.4,
        "not_worse": 0.47,
        "ranking": 0.634,
        "error_before": 0.3123,
        "error_after": 0.0281,
        "reliability_before": bins,
        "reliability": bins,
        "dev": [point(step) for step in range(21)],
        "test": [point(step, on_test=0.01) for step in range(21)],
        "notes": ["A limitation."],
    }
    facts["confidence"] = own
    return facts


def test_the_table_has_the_thresholds_of_five_shares(unsure: Facts) -> None:
    """What is deferred on dev, and what that is on test."""
    table = deferral_table(unsure)
    rows = [[plain(cell.value) for cell in row] for row in table.rows]

    assert [row[0] for row in rows] == ["0 %", "10 %", "20 %", "50 %", "100 %"]
    assert rows[2] == ["20 %", "0.380", "21.0 %", "64.9", "98.5 %", "+0.4"]
    assert plain(table.rows[2][3].detail) == "[63.9, 65.9]"
    assert plain(table.rows[2][5].detail) == "[−0.1, +0.9]"
    assert table.head[-1] == "Better than random"


def test_the_table_has_costs_where_all_are_known(unsure: Facts) -> None:
    """In the currency of the prices."""
    for step, own in enumerate(unsure["confidence"]["test"]):
        own["cost"] = 0.5 + step / 10

    table = deferral_table(unsure)

    assert table.head[-1] == "Cost of 1,000 requests"
    assert [row[-1].value for row in table.rows] == ["0.50", "0.70", "0.90", "1.50", "2.50"]


def test_the_sentences_say_what_is_predicted_and_how_well(unsure: Facts) -> None:
    """With the numbers of the facts; the event of a teacher that wrote the references is explained."""
    text = plain(" ".join(confidence_sentences(unsure)))

    for expected in (
        "BLEU",
        "of 47 % of",
        "31.2 % before",
        "2.8 % after",
        "temperature 1.50",
        "−0.40",
        "63 %",
        "A lim",
    ):
        assert expected in text
    assert "second text" not in text
    unsure["references_by_teacher"] = True
    assert "second text" in " ".join(confidence_sentences(unsure))


def test_figures_are_titled_elements_and_equal_for_equal_facts(unsure: Facts) -> None:
    """The curve and the reliability diagram, whose caption has the counts of its bins."""
    drawings = deferral_figures(unsure)

    assert drawings == deferral_figures(unsure)
    for caption, drawing in drawings.items():
        assert ET.fromstring(drawing).get("aria-label") == caption  # noqa: S314 - our own text
    curve, diagram = drawings
    assert curve.startswith("BLEU on test")
    assert "63 texts" in diagram


def test_the_page_has_the_section_only_with_facts(facts: Facts, unsure: Facts) -> None:
    """An earlier run has none, and its page renders as before."""
    page = render(unsure)
    assert 'id="confidence"' in page
    assert page.count("<figure>") == 7
    del unsure["confidence"]
    assert 'id="confidence"' not in render(facts)
