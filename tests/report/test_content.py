"""Source consistency and training health in the verdict, the key numbers and the page."""

import pytest

from understudy.report.checks import teacher_checks
from understudy.report.content_facts import ConsistencyScore, HealthFacts, Interval, TeacherLogprobFacts
from understudy.report.content_tables import (
    consistency_table,
    health_table,
    layer_order_table,
    left_out_table,
    teacher_logprobs_table,
    token_map_table,
    vocabulary_table,
)
from understudy.report.facts import NOT_MEASURED, Facts
from understudy.report.formatting import SPACE, THIN, UNKNOWN
from understudy.report.page import render
from understudy.report.verdict import five_numbers, verdict, verdict_kind


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def rates(missing: float, invented: float, outputs: int) -> ConsistencyScore:
    """The rates of one system, in percent."""
    both: list[Interval] = [{"value": value, "low": value - 2, "high": value + 2} for value in (missing, invented)]
    return {
        "missing": both[0],
        "invented": both[1],
        "outputs_with_missing": outputs,
        "outputs_with_invented": outputs,
    }


HEALTH: HealthFacts = {
    "steps": 24,
    "warmup_steps": 100,
    "kept_step": 12,
    "evaluations": 3,
    "dev_moved": False,
    "trained_parameters": 19040,
    "repetition": 0.25,
    "empty": 0.0,
    "length_ratio": 1.5,
    "unfinished": 0.125,
    "top_token_agreement": {"value": 0.5, "low": None, "high": None},
}


@pytest.fixture
def inventing(facts: Facts) -> Facts:
    """A run whose student invents more than its teacher."""
    facts["consistency"] = {
        "outputs": 60,
        "systems": {
            "teacher": rates(20, 3, 2),
            "joint_teaching": rates(20, 50, 42),
            "references": rates(18, 1, 1),
        },
        "advantages": {},
        "worse": ["invented"],
        "signatures": {},
    }
    facts["health"] = {"joint_teaching": HEALTH}
    return facts


def test_layers_that_were_removed_by_loss_are_a_table(facts: Facts) -> None:
    """One row per step, after the whole teacher; a report without such layers has no section."""
    del facts["curves"], facts["pool"]  # figures are slow and not needed here
    assert 'id="layers"' not in render(facts)
    facts["layer_order"] = {
        "loss": 1.25,
        "removed": [{"part": "decoder", "layer": 3, "loss": 1.5}, {"part": "encoder", "layer": 0, "loss": 2.0}],
        "kept": {"encoder": [1, 2], "decoder": [0, 1, 2]},
        "examples": 32,
    }
    table = layer_order_table(facts)

    assert [tuple(cell.value for cell in row) for row in table.rows] == [
        ("none", "1.250"), ("decoder layer 3", "1.500"), ("encoder layer 0", "2.000"),
    ]  # fmt: skip
    assert "keeps encoder layers 1, 2 and decoder layers 0, 1, 2 of the teacher" in render(facts)


def test_a_student_that_invents_more_has_a_number_that_says_so(inventing: Facts) -> None:
    """With the rates of the teacher and of the references to compare with; without the finding there is none."""
    label, value = five_numbers(inventing)[-1]

    assert plain(label) == "Items not in the source ↓"
    assert plain(value) == "50.0 % (worse than the teacher: teacher 3.0 %, references 1.0 %)"
    inventing["consistency"]["systems"]["teacher"]["invented"] = NOT_MEASURED
    assert plain(five_numbers(inventing)[-1][1]).endswith(
        "(worse than the teacher: teacher without items, references 1.0 %)"
    )
    inventing["consistency"]["worse"] = []
    assert len(five_numbers(inventing)) == 5


def test_worse_facts_are_a_warning_and_the_headline_is_not_green(inventing: Facts) -> None:
    """The tile is one of those that compare errors with the teacher's; a bad verdict keeps its colour."""
    del inventing["curves"], inventing["pool"]  # figures are slow and not needed here
    (check,) = teacher_checks(inventing)
    assert (plain(check.label), check.warns) == ("Items not in the source ↓", True)
    page = render(inventing)
    assert page.count('<div class="warning"><dt>Items not in the source') == 1
    assert '<h1 class="mixed">' in page
    inventing["not_learned"] = ["BLEU is 0.1"]
    assert '<h1 class="not_learned">' in render(inventing)
    inventing["not_learned"], inventing["consistency"]["worse"] = [], []
    assert '<h1 class="better">' in render(inventing)


def test_the_page_says_where_names_are_not_checked(inventing: Facts) -> None:
    """Facts of earlier versions do not say whether they are."""
    del inventing["curves"], inventing["pool"]  # figures are slow and not needed here
    sentence = "names are not checked: only numbers, dates and codes."
    assert sentence not in render(inventing)
    inventing["consistency"]["names"] = True
    assert sentence not in render(inventing)
    inventing["consistency"]["names"] = False
    assert sentence in render(inventing)


def test_a_student_that_has_not_learned_is_called_so(facts: Facts) -> None:
    """Before anything that the intervals say, with the reasons; an empty list of reasons changes nothing."""
    before = verdict(facts)
    facts["not_learned"] = []
    assert verdict(facts) == before
    facts["not_learned"] = ["BLEU is 0.1", "it was trained for 24 steps, fewer than the 100 of warm-up"]

    assert verdict_kind(facts) == "not_learned"
    assert "has not learned: BLEU is 0.1; it was trained for 24 steps, fewer than the 100 of warm-up." in verdict(facts)


def test_the_tables_show_every_system_and_the_references(inventing: Facts) -> None:
    """Rates with intervals, counts of outputs, and what each training did."""
    consistency, health = consistency_table(inventing), health_table(inventing)

    assert [row[0].value for row in consistency.rows] == ["Teacher", "Distilled student", "References"]
    assert [plain(" ".join(cell).strip()) for cell in consistency.rows[1][1:]] == [
        "20.0 % [18.0, 22.0]", "50.0 % [48.0, 52.0]", "42 of 60",
    ]  # fmt: skip
    assert [plain(cell.value) for cell in health.rows[0][1:]] == [
        "19 040", "100", "12", "never", "25.0 %", "1.50", "12.5 %", "50.0 %",
    ]  # fmt: skip


def test_the_page_has_both_sections(inventing: Facts) -> None:
    """And no empty ones where there are no such facts."""
    page = render(inventing)
    assert "Source consistency" in page
    assert "Training health" in page
    del inventing["consistency"], inventing["health"]
    page = render(inventing)
    assert "Source consistency" not in page
    assert "Training health" not in page


def test_a_rate_of_nothing_is_a_dash(inventing: Facts) -> None:
    """Sources without numbers, dates, codes and names have no rate."""
    own = inventing["consistency"]["systems"]["teacher"]
    own["missing"] = {**NOT_MEASURED, "note": "there are none"}

    assert consistency_table(inventing).rows[0][1].value == "–"


def test_a_trimmed_vocabulary_has_a_table(facts: Facts) -> None:
    """Tokens and parameters before and after, and what it costs in tokens per text."""
    assert 'id="vocabulary"' not in render(facts)
    facts["vocabularies"] = [
        {
            "system": "teacher",
            "tokens": 2000,
            "whole_tokens": 262144,
            "parameters": 101_606_016,
            "whole_parameters": 268_098_176,
            "tokens_per_text": 30.4,
            "whole_tokens_per_text": 28.9,
            "coverage": 0.9876,
        }
    ]
    (row,) = vocabulary_table(facts).rows

    assert [plain(cell.value) for cell in row] == ["Teacher", "2 000", "102 M", "62 %", "30.4", "98.8 %"]
    assert [plain(cell.detail) for cell in row[1:3]] == ["of 262 144", "of 268 M"]
    assert row[4].detail == "before 28.9"
    assert 'id="vocabulary"' in render(facts)


def test_the_caches_of_teacher_log_probabilities_are_one_row_each(facts: Facts) -> None:
    """What an API teacher cannot say is a dash; a report without such facts has no table."""
    assert teacher_logprobs_table(facts).rows == ()
    own: TeacherLogprobFacts = {
        "generator": "gold",
        "texts": 20,
        "positions": 1234,
        "bytes_per_position": 46.71,
        "mean_kept": 11.4,
        "mean_mass": 0.991,
        "lost_divergence": 0.0312,
    }
    facts["teacher_logprobs"] = [own, {**own, "generator": "teacher", "lost_divergence": None}]
    rows = [[plain(cell.value) for cell in row] for row in teacher_logprobs_table(facts).rows]

    assert rows[0] == ["Gold targets", "1 234", "46.7", "11.4", "99.1 %", "0.0312"]
    assert (rows[1][0], rows[1][-1]) == ("Pseudo-targets", UNKNOWN)
    assert "<h2>Teacher log-probabilities</h2>" in render(facts)


def test_what_was_too_long_has_a_table(facts: Facts) -> None:
    """How much of what, why, and what to set; missing where nothing was."""
    assert 'id="left-out"' not in render(facts)
    facts["left_out"] = [
        {"what": "pseudo-targets", "count": 3, "of": 40, "reason": "are too long", "remedy": "raise the limit"}
    ]
    (row,) = left_out_table(facts).rows

    assert [plain(cell.value) for cell in row] == ["pseudo-targets", "3", "7.5 %", "are too long", "raise the limit"]
    assert row[1].detail == "of 40"
    assert 'id="left-out"' in render(facts)


def test_a_mapped_teacher_has_a_table(facts: Facts) -> None:
    """The shares of positions by what is known of the teacher there."""
    assert 'id="tokenizers"' not in render(facts)
    facts["token_map"] = [
        {
            "texts": "teacher",
            "positions": 12345,
            "exact": 0.5,
            "merged": 0.25,
            "inside": 0.2,
            "text": 0.05,
            "mass": 0.987,
        }
    ]
    (row,) = token_map_table(facts).rows

    assert [plain(cell.value) for cell in row] == [
        "Pseudo-targets", "12 345", "50.0 %", "25.0 %", "20.0 %", "5.0 %", "98.7 %"
    ]  # fmt: skip
    assert 'id="tokenizers"' in render(facts)
