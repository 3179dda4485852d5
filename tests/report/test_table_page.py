import copy
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from tests.report.study_facts import NOTE, decision, means, plain

from understudy.report.paper import PAPER_CHOICES, TABLE_3, paper_row
from understudy.report.table_facts import ResultsTable
from understudy.report.table_figures import results_table_figures
from understudy.report.table_page import (
    cells_table,
    methods_table,
    render_results_table,
    results_table_markdown,
    without_empty,
)
from understudy.report.table_text import decision_text


class Page(HTMLParser):
    """The tags, references and visible text of an HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the element and what it refers to."""
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        """Record the text."""
        self.text += data


def test_the_table_has_the_form_of_the_papers_table(results: ResultsTable) -> None:
    """Paper stage, method, mean, a column per task, wins, and the paper's values for rows of the same name."""
    table = methods_table(results)
    first, second = table.rows

    assert table.head == (
        "Paper stage", "Method", "Mean", "easy", "hard", "Wins", "Primary metric", "Paper: mean", "Paper: wins",
    )  # fmt: skip
    assert [plain(own.value) for own in first[:7]] == ["S3", "Logits", "40 %", "50 %", "30 %", "3 of 4", "40 %"]
    assert plain(first[3].detail) == "[40, 60]"
    assert first[7].detail == "XS 30.2, SQ 39.7, AR 25.7, SH 41.9"
    assert (second[0].value, second[1].detail, second[7].value) == ("", "1 of 4 cells", "–")


def test_a_task_without_a_cell_is_a_dash(results: ResultsTable) -> None:
    """The row does not include the task, or its cell is not finished."""
    del results["summary"][1]["dev"]["tasks"]["hard"]

    assert methods_table(results).rows[1][4].value == "–"


def test_rows_and_tasks_without_a_finished_cell_can_be_left_out(results: ResultsTable) -> None:
    """For a terminal; the facts themselves stay as they are."""
    results["tasks"].append("other")
    results["summary"][1]["finished"] = 0
    shown = without_empty(results)

    assert (shown["tasks"], [own["method"] for own in shown["summary"]]) == (["easy", "hard"], ["Logits"])
    assert len(results["summary"]) == 2


def test_markdown_is_the_same_table(results: ResultsTable) -> None:
    """Every line has the same number of columns."""
    lines = results_table_markdown(results).splitlines()

    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {10}


def test_every_cell_is_in_the_table(results: ResultsTable) -> None:
    """Finished cells have scores, share and time; the others have their note, their error or their state."""
    finished, noisy, failed, waiting = cells_table(results).rows

    assert [plain(own.value) for own in finished] == [
        "Logits", "easy", "1", "BLEU", "50 %", "61.00", "50.00", "55.00", "54.00", "1 min 15 s",
    ]  # fmt: skip
    assert noisy[4] == ("–", NOTE)
    assert failed[3] == ("failed", "the disk <is> full")
    assert (waiting[3].value, waiting[3].detail) == ("not finished yet", "")
    assert {len(own) for own in cells_table(results).rows} == {10}


def test_a_metric_without_a_label_is_shown_by_its_name(results: ResultsTable) -> None:
    """Labels come with the facts; the report has no list of metrics."""
    results["metric_labels"] = {}
    assert cells_table(results).rows[0][3].value == "bleu"


def test_the_page_is_complete_and_loads_nothing_from_the_network(results: ResultsTable) -> None:
    """Tables, decisions and limitations are visible; nothing is loaded, and there is no script."""
    html = render_results_table(results)
    page = Page(html)

    for text in ("Logits", "1 cell failed", "the disk <is> full", NOTE, decision_text(decision())):
        assert text in page.text
    assert all(reference.startswith("#") for reference in page.references)
    assert "script" not in page.tags
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert not re.search(r"url\((?!#)|@import", html)
    assert page.tags.count("table") == 3


def test_tables_scroll_inside_the_page(results: ResultsTable) -> None:
    """On a phone only the tables scroll sideways, not the page."""
    html = render_results_table(results)

    assert html.count("<table") == html.count('<div class="scroll"') == 3
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html


def test_equal_facts_give_an_equal_page(results: ResultsTable) -> None:
    """The page contains no date and no random id."""
    assert render_results_table(results) == render_results_table(copy.deepcopy(results))


def test_there_is_a_figure_per_task_and_one_over_all(results: ResultsTable) -> None:
    """They have titles and ids of their own; a method without a share is left out."""
    drawings = results_table_figures(results)
    ids = [found for drawing in drawings.values() for found in re.findall(r'\bid="([^"]+)"', drawing)]

    assert [caption.split(", ")[1] for caption in drawings] == ["all tasks", "easy", "hard"]
    assert len(ids) == len(set(ids))
    for drawing in drawings.values():
        assert ET.fromstring(drawing).tag.endswith("svg")  # noqa: S314 - our own text
        assert "Logits" in drawing
    results["summary"][1]["dev"]["tasks"]["hard"] = means(None)
    assert "My own" not in results_table_figures(results)["Share of the gap closed on dev, hard"]


def test_the_papers_table_is_consistent() -> None:
    """Its S3 wins cover all contests, its choices are rows, and a row is found by any spelling of its name."""
    assert sum(own.wins for own in TABLE_3.values() if own.paper_stage == "S3") == 32
    assert {PAPER_CHOICES[stage] for stage in ("S3", "S4", "S5", "S6", "S7", "S8")} <= set(TABLE_3)
    assert paper_row("joint teaching") == TABLE_3["Joint-Teaching"]
    assert paper_row("joint teaching 2") is None
    assert TABLE_3["Joint-Teaching"].mean == pytest.approx(70.85)
