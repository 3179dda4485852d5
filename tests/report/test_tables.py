from understudy.report.facts import Facts
from understudy.report.formatting import SPACE, THIN
from understudy.report.tables import (
    costs_table,
    gap_notes,
    markdown_tables,
    pool_table,
    quality_table,
    stages_table,
    training_table,
)


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def test_metrics_are_rows_and_the_share_of_the_gap_is_first(facts: Facts) -> None:
    """The primary metric is the first row; rows have the metrics' labels, columns the systems' names."""
    table = quality_table(facts)

    assert table.head == (
        "Metric", "Gap closed", "Teacher", "Fine-tuned student", "Distilled student", "Advantage over fine-tuned",
    )  # fmt: skip
    assert [row[0].value for row in table.rows] == ["BLEU", "ROUGE"]
    assert [plain(cell.value) for cell in table.rows[0][1:]] == ["71 %", "65.9", "59.8", "64.1", "+4.3"]
    assert plain(table.rows[0][1].detail) == "[62, 80]"
    assert plain(table.rows[0][4].detail) == "[63.0, 65.2]"


def test_without_a_baseline_the_table_has_scores_only(facts: Facts) -> None:
    """There is no gap, so there is no column for it."""
    facts["gap_closed"], facts["systems"] = {}, [facts["systems"][0], facts["systems"][2]]
    table = quality_table(facts)

    assert table.head == ("Metric", "Teacher", "Distilled student")
    assert [cell.value for cell in table.rows[0]] == ["BLEU", "65.9", "64.1"]


def test_an_arrow_marks_metrics_in_which_lower_is_better(facts: Facts) -> None:
    """The direction comes from the scores."""
    facts["systems"][0]["scores"]["wer"] = facts["systems"][0]["scores"]["bleu"] | {
        "label": "WER",
        "higher_is_better": False,
    }
    assert [plain(row[0].value) for row in quality_table(facts).rows] == ["BLEU", "ROUGE", "WER ↓"]


def test_the_training_table_names_the_first_best_and_last_score(facts: Facts) -> None:
    """The best score is the lowest where lower is better."""
    points = [
        {"step": step, "seconds": 10.0 * step, "dev": {"bleu": score}} for step, score in ((1, 5), (2, 9), (3, 7))
    ]
    facts["curves"] = {"teacher": points, "joint_teaching": []}  # type: ignore[dict-item]
    (row,) = training_table(facts).rows
    assert [plain(cell.value) for cell in row] == ["Teacher", "3", "30.0 s", "5.0", "9.0", "2", "7.0", "–"]

    for system in facts["systems"]:
        system["scores"]["bleu"]["higher_is_better"] = False
    (row,) = training_table(facts).rows
    assert [cell.value for cell in row[4:6]] == ["5.0", "1"]


def test_each_system_has_its_costs(facts: Facts) -> None:
    """In the order of the columns of the quality table, with units."""
    table = costs_table(facts)

    assert tuple(row[0].value for row in table.rows) == quality_table(facts).head[2:5]
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.rows[0][table.head.index("Latency p50")].value.endswith("ms")


def test_a_missing_score_is_a_dash(facts: Facts) -> None:
    """A teacher scored in one metric only keeps its row."""
    del facts["systems"][0]["scores"]["rouge"]

    assert quality_table(facts).rows[1][2].value == "–"


def test_a_gap_without_a_share_shows_the_reason(facts: Facts) -> None:
    """The cell has a dash, and the note is a sentence below the table, also in Markdown."""
    note = "On rouge the teacher is not clearly better than the fine-tuned student."

    assert quality_table(facts).rows[1][1] == ("–", "")
    assert gap_notes(facts) == [note]
    assert f"- {note}\n" in markdown_tables(facts)


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
    for system in facts["systems"]:
        system["scores"]["bleu"]["label"] = "mine|<b>\nyours"
    lines = [line.replace("\\|", "") for line in markdown_tables(facts).splitlines() if line.startswith("|")]

    assert {line.count("|") for line in lines[:4]} == {7}
    assert {line.count("|") for line in lines[4:]} == {8}
    assert "<b>" not in markdown_tables(facts)
