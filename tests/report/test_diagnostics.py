import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from understudy.report.diagnostic_figures import completion_figures, depth_figures, exposure_figures
from understudy.report.diagnostic_page import render_diagnostics, write_diagnostics
from understudy.report.diagnostics import (
    DepthFacts,
    Diagnostics,
    StudentDiagnosis,
    completion_table,
    depth_table,
    exposure_table,
    main_numbers,
    summary_sentence,
)


def student(excess: float, *, half: float) -> StudentDiagnosis:
    """A student whose error grows over three positions."""
    return {
        "excess_error": {
            "value": [0.0, excess / 2, excess],
            "low": [0.0, excess / 2 - half, excess - half],
            "high": [0.0, excess / 2 + half, excess + half],
        },
        "kl_on_student_text": [0.5, 0.25, 0.75],
        "kl_on_teacher_text": [0.5, 0.25, 0.3],
        "teacher_entropy_on_student_text": {"mean": 0.75, "by_position": [1.0, 0.5]},
        "teacher_entropy_on_teacher_text": {"mean": 0.5, "by_position": [0.75, 0.25, 0.25]},
        "completion_scores": [
            {"percent": percent, "value": 60.0 - percent / 10, "low": 58.0 - percent / 10, "high": 62.0 - percent / 10}
            for percent in (0, 25, 50, 75, 100)
        ],
        "signature": "bleu|data:c0ffee12|split:dev|decoding:greedy",
    }


def depths() -> list[DepthFacts]:
    """Two depths at two lengths."""
    return [
        {
            "encoder_layers": 6,
            "decoder_layers": layers,
            "tokens": tokens,
            "latency_ms": float(layers * tokens),
            "throughput_per_s": 600.0 / layers,
        }
        for layers in (6, 2)
        for tokens in (8, 16)
    ]


@pytest.fixture
def diagnostics() -> Diagnostics:
    """A distilled student without clear exposure bias, and a fine-tuned student with a third more error."""
    return {
        "run": "e2e",
        "method": "joint_teaching",
        "inputs": 200,
        "metric": "bleu",
        "metric_label": "BLEU",
        "students": {"fine_tuned": student(33.4, half=8), "joint_teaching": student(4.0, half=8)},
        "pool": {"texts": 800, "inputs": 100, "duplicates": 0.25},
        "depths": {"benchmark_conditions": "hf on cpu, 1 thread", "costs": depths()},
    }


def test_the_summary_claims_no_more_than_the_intervals_allow(diagnostics: Diagnostics) -> None:
    """An interval that includes zero is no bias; an interval below zero is less error."""
    distilled, fine_tuned = summary_sentence(diagnostics).split("; ")
    diagnostics["students"]["joint_teaching"] = student(-20.0, half=8)

    assert distilled.startswith("The distilled student")
    assert "no exposure bias" in distilled
    assert fine_tuned.startswith("the fine-tuned student")
    assert "33\u202f% more error on its own prefixes" in fine_tuned
    assert "20\u202f% less error on its own prefixes" in summary_sentence(diagnostics)


def test_the_main_numbers_are_the_ends_of_the_curves(diagnostics: Diagnostics) -> None:
    """The excess error at the last length, the completion scores at three shares, the entropy on both texts."""
    numbers = dict(main_numbers(diagnostics))
    distilled = "Distilled student"

    assert numbers["Fine-tuned student: ExAccErr(3)"] == "33.4\u202f% [25.4,\u00a041.4]"
    assert numbers[f"{distilled}: BLEU at 0, 50, 100 %"] == "60.0, 55.0, 50.0"
    assert re.search(r"0\.75 nats .* 0\.50", numbers[f"{distilled}: teacher entropy"])


def test_the_tables_have_a_row_per_student_and_per_depth(diagnostics: Diagnostics) -> None:
    """Every row has a cell for each column head."""
    exposure, completion, depth = exposure_table(diagnostics), completion_table(diagnostics), depth_table(diagnostics)

    assert [row[0].value for row in exposure.rows] == ["Fine-tuned student", "Distilled student"]
    assert [cell.value for cell in exposure.rows[0][2:]] == ["0.500", "0.350", "0.75", "0.50"]
    assert completion.head[1:] == ("0\u202f%", "25\u202f%", "50\u202f%", "75\u202f%", "100\u202f%")
    assert [(row[0].value, row[2].value, row[2].detail) for row in depth.rows] == [
        ("6:6", "96.0\u202fms", "100\u202f/s"),
        ("6:2", "32.0\u202fms", "300\u202f/s"),
    ]
    for table in (exposure, completion, depth):
        assert all(len(row) == len(table.head) for row in table.rows)


def test_every_figure_is_a_titled_element_with_its_own_ids(diagnostics: Diagnostics) -> None:
    """Six figures are on one page, so their ids must differ."""
    drawings = exposure_figures(diagnostics) | completion_figures(diagnostics) | depth_figures(diagnostics)
    ids = [found for drawing in drawings.values() for found in re.findall(r'\bid="([^"]+)"', drawing)]

    assert len(drawings) == 6
    assert len(ids) == len(set(ids))
    for caption, drawing in drawings.items():
        assert ET.fromstring(drawing).get("aria-label") == caption  # noqa: S314 - our own text


def test_the_page_needs_no_network_and_runs_no_script(diagnostics: Diagnostics) -> None:
    """Nothing is loaded, and the content security policy would block it."""
    html = render_diagnostics(diagnostics)
    without_names = html.replace("http://www.w3.org/", "")

    assert "default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert "<script" not in html
    assert not re.search(r"https?://|src=|@import", without_names)
    assert html == render_diagnostics(diagnostics)


def test_hostile_names_are_escaped(diagnostics: Diagnostics) -> None:
    """The name of a run and a signature stay text."""
    diagnostics["run"] = "<b>run</b>"
    diagnostics["students"]["fine_tuned"]["signature"] = "<script>"

    html = render_diagnostics(diagnostics)

    assert "<b>run" not in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_missing_measurements_have_no_section(diagnostics: Diagnostics) -> None:
    """Without depths and a pool the page ends with the completion scores."""
    del diagnostics["depths"]
    diagnostics["pool"] = {}

    html = render_diagnostics(diagnostics)

    assert depth_figures(diagnostics) == {}
    assert 'id="completion"' in html
    assert 'id="depths"' not in html
    assert 'id="pool"' not in html


def test_the_page_is_written(diagnostics: Diagnostics, tmp_path: Path) -> None:
    """As diagnostics.html in the folder of the report."""
    page = write_diagnostics(diagnostics, tmp_path)

    assert page == tmp_path / "diagnostics.html"
    assert page.read_text("utf-8") == render_diagnostics(diagnostics)
