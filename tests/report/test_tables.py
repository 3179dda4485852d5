from understudy.report.facts import Facts
from understudy.report.tables import costs_table, gap_table, markdown_table, pool_table, quality_table, stages_table


def test_each_system_has_a_row_and_each_metric_a_column(facts: Facts) -> None:
    """The primary metric stands first, its interval in small print."""
    table = quality_table(facts)

    assert table.head[:3] == ("System", "BLEU", "ROUGE")
    assert [row[0].value for row in table.rows] == ["Teacher", "Fine-tuned student", "Joint teaching"]
    assert table.rows[2][1].value == "64.1"
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_each_system_has_its_costs(facts: Facts) -> None:
    """In the order of the scores' rows, in units people read."""
    table = costs_table(facts)

    assert [row[0] for row in table.rows] == [row[0] for row in quality_table(facts).rows]
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.rows[0][table.head.index("Latency p50")].value.endswith("ms")


def test_a_score_that_was_not_taken_is_a_dash(facts: Facts) -> None:
    """A teacher scored in one metric only keeps its row."""
    del facts["systems"][0]["scores"]["rouge"]

    assert quality_table(facts).rows[0][2].value == "–"


def test_a_gap_without_a_share_shows_why(facts: Facts) -> None:
    """The note stands where the share would."""
    rouge = gap_table(facts).rows[1][-1]

    assert (rouge.value, rouge.detail) == (
        "–",
        "on rouge the teacher is not clearly better than the fine-tuned student",
    )


def test_time_spent_leaves_out_what_was_reused(facts: Facts) -> None:
    """148 s, 4031 s and 42 s were spent; the teacher's 261 s were not."""
    (*_, total) = stages_table(facts).rows

    assert total[1].value.split() == ["1", "h", "10", "min"]


def test_facts_without_a_pool_or_stages_give_empty_tables(facts: Facts) -> None:
    """No row pretends that something was counted."""
    del facts["pool"], facts["stages"]

    assert pool_table(facts).rows == ()
    assert stages_table(facts).rows == ()


def test_markdown_keeps_its_columns_whatever_a_name_holds(facts: Facts) -> None:
    """A bar or a line break in a name does not open a new cell."""
    facts["systems"][2]["name"] = facts["method"] = "mine|<b>\nyours"
    lines = [line.replace("\\|", "") for line in markdown_table(facts).splitlines() if line]

    assert {line.count("|") for line in lines[:5]} == {4}
    assert {line.count("|") for line in lines[5:10]} == {8}
    assert {line.count("|") for line in lines[10:]} == {7}
    assert "<b>" not in markdown_table(facts)
