from understudy.report.facts import Facts
from understudy.report.tables import (
    costs_table,
    gap_table,
    lower_is_better,
    markdown_tables,
    pool_table,
    quality_table,
    stages_table,
)


def test_systems_are_rows_and_metrics_are_columns(facts: Facts) -> None:
    """The primary metric is the first column; columns have the metrics' labels."""
    table = quality_table(facts)

    assert table.head[:3] == ("System", "BLEU", "ROUGE")
    assert [row[0].value for row in table.rows] == [
        "Teacher",
        "Fine-tuned student",
        "Distilled student (joint_teaching)",
    ]
    assert table.rows[2][1].value == "64.1"
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_metrics_in_which_lower_is_better_are_listed(facts: Facts) -> None:
    """The direction comes from the scores."""
    assert lower_is_better(facts) == []
    facts["systems"][0]["scores"]["wer"] = facts["systems"][0]["scores"]["bleu"] | {
        "label": "WER",
        "higher_is_better": False,
    }
    assert lower_is_better(facts) == ["WER"]


def test_each_system_has_its_costs(facts: Facts) -> None:
    """In the order of the quality table, with units."""
    table = costs_table(facts)

    assert [row[0] for row in table.rows] == [row[0] for row in quality_table(facts).rows]
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.rows[0][table.head.index("Latency p50")].value.endswith("ms")


def test_a_missing_score_is_a_dash(facts: Facts) -> None:
    """A teacher scored in one metric only keeps its row."""
    del facts["systems"][0]["scores"]["rouge"]

    assert quality_table(facts).rows[0][2].value == "–"


def test_a_gap_without_a_share_shows_the_reason(facts: Facts) -> None:
    """The note is in the place of the interval."""
    rouge = gap_table(facts).rows[1][-1]

    assert (rouge.value, rouge.detail) == (
        "–",
        "on rouge the teacher is not clearly better than the fine-tuned student",
    )


def test_the_total_time_excludes_reused_stages(facts: Facts) -> None:
    """148 s, 4031 s and 42 s are part of this run; the teacher's 261 s are not."""
    (*_, total) = stages_table(facts).rows

    assert total[1].value.split() == ["1", "h", "10", "min"]


def test_facts_without_a_pool_or_stages_give_empty_tables(facts: Facts) -> None:
    """There is no row without a value."""
    del facts["stages"]

    assert pool_table({}).rows == ()
    assert stages_table(facts).rows == ()


def test_names_cannot_break_the_columns_of_markdown(facts: Facts) -> None:
    """A bar or a line break in a name does not start a new cell."""
    facts["systems"][2]["name"] = facts["method"] = "mine|<b>\nyours"
    lines = [line.replace("\\|", "") for line in markdown_tables(facts).splitlines() if line]

    assert {line.count("|") for line in lines[:5]} == {4}
    assert {line.count("|") for line in lines[5:10]} == {8}
    assert {line.count("|") for line in lines[10:]} == {7}
    assert "<b>" not in markdown_tables(facts)
