import copy
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from understudy.report.facts import FINE_TUNED, Interval
from understudy.report.paper import KEPT, TABLE_3, paper_row
from understudy.report.table_facts import CellFacts, Decision, Means, MethodFacts, ResultsTable, SplitMeans
from understudy.report.table_figures import ladder_figures
from understudy.report.table_page import (
    cells_table,
    decision_in_words,
    headline,
    ladder_markdown,
    render_results_table,
    results_table_rows,
)

NOTE = "on bleu the teacher is not clearly better than the fine-tuned student"


def share(value: float | None) -> Interval:
    """A share with an interval of ten points on each side."""
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": low, "high": high}


def means(value: float | None) -> Means:
    """The same for all metrics and for the primary one."""
    return {"mean": share(value), "primary": share(value)}


def row(stage: str, method: str, easy: float, hard: float, *, cells: int = 4) -> MethodFacts:
    """A row of two tasks with two seeds each."""
    both: SplitMeans = {"tasks": {"easy": means(easy), "hard": means(hard)}, "all": means((easy + hard) / 2)}
    return {
        "stage": stage,
        "method": method,
        "dev": both,
        "test": both,
        "wins": 3,
        "contests": 4,
        "cells": cells,
        "asked": 4,
    }


def cell(method: str, task: str, seed: int, gap: Interval) -> CellFacts:
    """A finished cell scored by BLEU."""
    scores = {"dev": {"bleu": 55.0}, "test": {"bleu": 54.0}}
    return {
        "stage": "S3",
        "method": method,
        "task": task,
        "seed": seed,
        "scores": scores,
        "gap_closed": {"dev": {"bleu": gap}, "test": {"bleu": gap}},
        "references": {"teacher": {"dev": {"bleu": 61.0}}, FINE_TUNED: {"dev": {"bleu": 50.0}}},
        "seconds": 75.0,
    }


def decision(**changes: object) -> Decision:
    """Logits against noise."""
    own: Decision = {
        "stage": "S3",
        "by": "gap_closed",
        "options": [
            {"method": FINE_TUNED, "dev": {"value": 0.0, "low": 0.0, "high": 0.0}, "carried": True, "finished": 4},
            {"method": "Logits", "dev": share(0.4), "carried": False, "finished": 4},
            {"method": "Noisy", "dev": share(0.3), "carried": False, "finished": 4},
        ],
        "cells": 4,
        "kept": "Logits",
        "runner_up": "Noisy",
        "lead": {"value": 0.1, "low": -0.02, "high": 0.22},
        "within_noise": True,
    }
    own.update(changes)  # type: ignore[typeddict-item]
    return own


@pytest.fixture
def results_table() -> ResultsTable:
    """Two rows on two tasks, one cell that failed and one that is not made."""
    return {
        "study": "little",
        "tasks": ["easy", "hard"],
        "primary_metric": {"easy": "bleu", "hard": "bleu"},
        "rows": [cell("Logits", "easy", 1, share(0.5)), cell("Logits", "hard", 1, {**share(None), "note": NOTE})],
        "missing": [
            {"stage": "S3", "method": "Noisy", "task": "easy", "seed": 1, "error": "the disk <is> full"},
            {"stage": "S3", "method": "Noisy", "task": "hard", "seed": 1, "error": ""},
        ],
        "summary": [row("S3", "Logits", 0.5, 0.3), row("S3", "My own", 0.2, 0.1, cells=1)],
        "decisions": [decision()],
    }


class Page(HTMLParser):
    """What a reader of HTML finds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element and what it refers to."""
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        self.text += data


def test_the_table_has_the_papers_form(results_table: ResultsTable) -> None:
    """Stage, method, a column per task, wins, mean, and the paper's numbers for rows of the same name."""
    table = results_table_rows(results_table)
    first, second = table.rows

    assert table.head == (
        "Stage", "Method", "easy", "hard", "Wins", "Mean", "Primary metric", "Paper: mean", "Paper: wins",
    )  # fmt: skip
    assert [own.value.replace("\u202f", " ") for own in first[:7]] == [
        "S3", "Logits", "50 %", "30 %", "3 of 4", "40 %", "40 %",
    ]  # fmt: skip
    assert first[2].detail.replace("\u00a0", " ") == "[40, 60]"
    assert first[7].detail == "XS 30.2, SQ 39.7, AR 25.7, SH 41.9"
    assert (second[0].value, second[1].detail, second[7].value) == ("", "1 of 4 cells", "–")


def test_a_task_without_a_cell_is_a_dash(results_table: ResultsTable) -> None:
    """A row that does not run there, or not yet."""
    del results_table["summary"][1]["dev"]["tasks"]["hard"]

    assert results_table_rows(results_table).rows[1][3].value == "–"


def test_markdown_is_the_same_table(results_table: ResultsTable) -> None:
    """Every line has the same columns."""
    lines = ladder_markdown(results_table).splitlines()

    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {10}
    assert lines[2].startswith("| S3 | Logits | 50 % [40, 60] |")


def test_every_cell_is_shown(results_table: ResultsTable) -> None:
    """Finished ones with scores and seconds, a gap that is noise with its note, the others with their reason."""
    finished, noisy, failed, waiting = cells_table(results_table).rows

    assert [own.value.replace("\u202f", " ") for own in finished] == [
        "Logits", "easy", "1", "BLEU", "50.00", "55.00", "61.00", "50 %", "54.00", "1 min 15 s",
    ]  # fmt: skip
    assert noisy[7] == ("–", NOTE)
    assert (failed[3], waiting[3]) == (("failed", "the disk <is> full"), ("not made yet", ""))
    assert {len(own) for own in cells_table(results_table).rows} == {10}


def plain(words: str) -> str:
    """With ordinary spaces."""
    return words.replace("\u202f", " ").replace("\u00a0", " ")


def test_a_decision_is_said_with_its_doubts() -> None:
    """What is kept, by how much, over what, and what the paper keeps."""
    assert plain(decision_in_words(decision())) == (
        "Keeps Logits: 40 % [30, 50] of the gap on dev; next is Noisy with 30 % [20, 40] (lead +10 points [−2, 22]). "
        "The interval of the lead holds 0: within noise. Over 4 cells. The paper keeps Logits."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"within_noise": False}, "Beyond noise. Over 4 cells."),
        ({"kept": None, "cells": 0}, "Nothing is decided yet: no cell is finished that all options have. The paper"),
        ({"kept": None}, "Nothing can be decided: the teacher leads in no metric of 4 cells."),
        ({"kept": FINE_TUNED}, "Keeps fine-tuned student, as before: 0 % [0, 0]"),
        ({"stage": "mine"}, "Over 4 cells."),
    ],
)
def test_a_decision_claims_no_more_than_is_known(changes: dict[str, object], expected: str) -> None:
    """Each way it can end is said."""
    said = plain(decision_in_words(decision(**changes)))

    assert expected in said
    assert ("The paper" in said) == (changes.get("stage") is None)


def test_a_decision_by_score_speaks_of_scores() -> None:
    """Architectures are compared in the metric's own unit."""
    options = [{"method": "bart", "dev": {"value": 51.0, "low": 50.0, "high": 52.0}, "carried": False, "finished": 4}]
    alone = decision(stage="S1", by="score", options=options, kept="bart")
    del alone["runner_up"]

    assert plain(decision_in_words(alone)) == (
        "Keeps bart: 51.0 [50.0, 52.0] in the primary metric on dev; there is nothing to compare it with. "
        "Over 4 cells. The paper keeps encoder-decoder networks."
    )


def test_the_headline_is_the_best_row(results_table: ResultsTable) -> None:
    """And says how much of the study it rests on."""
    assert plain(headline(results_table)) == (
        "Logits closes 40 % [30, 50] of the gap between fine-tuned student and teacher on dev "
        "(mean over metrics, seeds and 2 tasks). 5 of 8 cells are finished."
    )
    lucky = results_table["summary"][0] | {"method": "Hot", "cells": 1, "dev": {"tasks": {}, "all": means(0.9)}}
    assert plain(headline(results_table | {"summary": [*results_table["summary"], lucky]})).startswith(
        "Logits closes 40 %"
    )
    for own in results_table["summary"]:
        own["dev"] = {"tasks": {}, "all": means(None)}
    assert headline(results_table).startswith("little: no share of the gap is known yet.")


def test_the_page_is_whole_and_asks_nothing_of_the_network(results_table: ResultsTable) -> None:
    """Tables, decisions and notes can be read; nothing is loaded, and no script runs."""
    html = render_results_table(results_table)
    page = Page(html)

    for said in ("Logits", "1 cell failed", "the disk <is> full", NOTE, decision_in_words(decision())):
        assert said in page.text
    assert all(reference.startswith("#") for reference in page.references)
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)|@import", html)
    assert page.tags.count("table") == 3


def test_tables_scroll_inside_the_page(results_table: ResultsTable) -> None:
    """On a phone the page itself does not: every table lies in a box that scrolls."""
    html = render_results_table(results_table)

    assert html.count("<table") == html.count('<div class="scroll"') == 3
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html


def test_equal_facts_give_an_equal_page(results_table: ResultsTable) -> None:
    """No date and no random id."""
    assert render_results_table(results_table) == render_results_table(copy.deepcopy(results_table))


def test_there_is_a_panel_per_task_and_one_over_all(results_table: ResultsTable) -> None:
    """Titled elements with ids of their own; a method without a share has no place."""
    drawings = ladder_figures(results_table)
    ids = [found for drawing in drawings.values() for found in re.findall(r'\bid="([^"]+)"', drawing)]

    assert [caption.split(", ")[1] for caption in drawings] == ["all tasks", "easy", "hard"]
    assert len(ids) == len(set(ids))
    for drawing in drawings.values():
        assert ET.fromstring(drawing).tag.endswith("svg")  # noqa: S314 - our own text
        assert "Logits" in drawing
    results_table["summary"][1]["dev"]["tasks"]["hard"] = means(None)
    assert "My own" not in ladder_figures(results_table)["Share of the gap closed on dev, hard"]


def test_the_papers_table_is_the_papers() -> None:
    """Its wins of S3 are all contests, its winners are rows, and a name is found however it is written."""
    assert sum(own.wins for own in TABLE_3.values() if own.stage == "S3") == 32
    assert {KEPT[stage] for stage in ("S3", "S4", "S5", "S6", "S7", "S8")} <= set(TABLE_3)
    assert paper_row("joint teaching") == TABLE_3["Joint-Teaching"]
    assert paper_row("joint teaching 2") is None
    assert TABLE_3["Joint-Teaching"].mean == pytest.approx(70.85)
