"""The page of a comparison, on facts made by hand."""

import copy
import re

import pytest

from understudy.report.comparison_costs import COST_MEASURES
from understudy.report.comparison_facts import ComparisonFacts, ComparisonRow, RequirementFacts
from understudy.report.comparison_page import (
    comparison_costs_table,
    comparison_headline,
    render_comparison,
    requirements_table,
    scores_table,
    systems_table,
)
from understudy.report.content_facts import Interval

NAMES = ("new:student", "old:student", "<b>file</b>")


def interval(value: float, half: float = 1.0) -> Interval:
    """A symmetric interval."""
    return {"value": value, "low": value - half, "high": value + half}


def row(label: str, values: tuple[float, float, float], *, higher: bool = True) -> ComparisonRow:
    """The scores of the three systems, and the candidate's advantages."""
    sign = 1 if higher else -1
    return {
        "label": label,
        "higher_is_better": higher,
        "scores": {name: interval(value) for name, value in zip(NAMES, values, strict=True)},
        "advantages": {
            name: interval(sign * (values[0] - value)) for name, value in zip(NAMES[1:], values[1:], strict=True)
        },
        "signatures": dict.fromkeys(NAMES, f"{label}|n:9"),
    }


def requirement(text: str, metric: str, value: float, bound: float, *, sure: bool | None) -> RequirementFacts:
    """A requirement that holds where its value is above the bound."""
    margin: Interval = (
        interval(value - bound) if sure is not None else {"value": bound - value, "low": None, "high": None}
    )
    holds = (margin["value"] or 0) >= 0
    return {
        "requirement": text,
        "metric": metric,
        "value": value,
        "bound": bound,
        "margin": margin,
        "holds": holds,
        "holds_confidently": sure,
    }


@pytest.fixture
def facts() -> ComparisonFacts:
    """A candidate that is better than an old student in BLEU."""
    return {
        "candidate": NAMES[0],
        "primary_metric": "bleu",
        "split": "test",
        "examples": 630,
        "digest": "c0ffee",
        "resamples": 1000,
        "seed": 3,
        "systems": {
            name: {"origin": f"runs/{name}", "decoding": None, "equal_texts": 630 if name == NAMES[0] else 12}
            for name in NAMES
        },
        "metrics": {"bleu": row("BLEU", (61.2, 59.9, 60.0)), "wer": row("WER", (7.0, 9.0, 6.5), higher=False)},
        "outputs": {"empty": row("Empty outputs", (0.0, 0.0, 1.0), higher=False)},
        "costs": {
            "latency_p50": {
                "label": "Latency p50",
                "higher_is_better": False,
                "values": {NAMES[0]: 5.0, NAMES[1]: 20.0, NAMES[2]: None},
            }
        },
        "requirements": [],
        "confident": False,
        "holds": None,
        "notes": ["Nothing is <corrected>."],
    }


def test_the_headline_is_the_advantage_in_the_primary_metric(facts: ComparisonFacts) -> None:
    """With its interval, over each other system."""
    assert comparison_headline(facts).replace("\u00a0", " ") == (
        "new:student scores 61.20 in BLEU; advantage +1.30 [0.30, 2.30] over old:student, "
        "+1.20 [0.20, 2.20] over <b>file</b>."
    )


def test_the_headline_counts_the_requirements_that_hold_as_they_are_judged(facts: ComparisonFacts) -> None:
    """By the point estimate, or by the interval where there is one."""
    facts["requirements"] = [
        requirement("bleu >= old - 1", "bleu", 61.2, 58.9, sure=True),
        requirement("bleu >= old", "bleu", 61.2, 60.9, sure=False),
        requirement("latency_p50 <= 20", "latency_p50", 5.0, 20.0, sure=None),
    ]
    assert comparison_headline(facts) == "new:student meets all 3 requirements."
    facts["confident"] = True
    assert comparison_headline(facts) == "new:student confidently meets 2 of 3 requirements."


def test_requirements_have_both_judgements_and_units(facts: ComparisonFacts) -> None:
    """A measurement has the unit of its cost and no interval."""
    facts["requirements"] = [
        requirement("bleu >= old", "bleu", 61.2, 60.9, sure=False),
        requirement("latency_p50 <= 20", "latency_p50", 5.0, 20.0, sure=None),
    ]
    cells = [[own.value.replace("\u202f", " ") for own in line] for line in requirements_table(facts).rows]
    assert cells == [
        ["bleu >= old", "61.20", "60.90", "+0.30", "holds", "does not hold"],
        ["latency_p50 <= 20", "5.0 ms", "20.0 ms", "+15.0 ms", "holds", "–"],
    ]


def test_scores_and_advantages_share_a_row(facts: ComparisonFacts) -> None:
    """Positive is better in both directions; a reason takes the place of a difference without a meaning."""
    facts["metrics"]["bleu"]["advantages"][NAMES[2]] = {"value": None, "low": None, "high": None, "note": "why"}
    table = scores_table(facts, facts["metrics"])

    assert table.head == (
        "Metric",
        NAMES[0],
        NAMES[1],
        f"advantage over {NAMES[1]}",
        NAMES[2],
        f"advantage over {NAMES[2]}",
    )
    assert [own.value for own in table.rows[1][1:4]] == ["7.000", "9.000", "+2.000"]
    assert table.rows[0][5] == ("–", "why")
    assert table.rows[1][0].value.endswith("↓")


def test_costs_are_multiples_and_files_have_none(facts: ComparisonFacts) -> None:
    """The detail is the candidate's value by the other's."""
    cells = comparison_costs_table(facts).rows[0]
    assert [own.detail for own in cells] == ["", "", "candidate 0.25 times", ""]
    assert cells[3].value == "–"
    assert systems_table(facts).rows[1][2].value == "12 of 630"


def test_the_page_needs_no_network_and_escapes_names(facts: ComparisonFacts) -> None:
    """No script, no reference to another host, and equal facts give equal pages."""
    facts["requirements"] = [requirement("bleu >= old", "bleu", 61.2, 60.9, sure=False)]
    facts["holds"] = True
    html = render_comparison(facts)

    assert "<script" not in html
    assert "<b>file" not in html
    assert not re.search(r"https?://|url\((?!#)|@import", html)
    assert '<h1 class="better">new:student meets the requirement.</h1>' in html
    assert "Nothing is &lt;corrected&gt;." in html
    assert html == render_comparison(copy.deepcopy(facts))


def test_every_cost_has_a_name_that_a_requirement_can_write() -> None:
    """Letters, digits and underscores."""
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in COST_MEASURES)
