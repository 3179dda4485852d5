import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure
from tests.report.conftest import facts_example

from understudy import report
from understudy.report.facts import Facts
from understudy.report.figures import _draw_quality, pool_figures, result_figures
from understudy.report.svg import FIGURE_SIZE, figure_style


def test_equal_facts_give_equal_figures(facts: Facts) -> None:
    """The drawings contain no date and no random id."""
    assert pool_figures(facts) == pool_figures(facts)


def test_every_figure_is_a_titled_element_with_its_own_ids(facts: Facts) -> None:
    """All figures are on one page, so their ids must differ."""
    drawings = result_figures(facts) | pool_figures(facts)
    ids = [found for drawing in drawings.values() for found in re.findall(r'\bid="([^"]+)"', drawing)]

    assert len(drawings) == 5
    assert len(ids) == len(set(ids))
    for caption, drawing in drawings.items():
        root = ET.fromstring(drawing)  # noqa: S314 - our own text
        assert (root.tag, root.get("aria-label")) == ("{http://www.w3.org/2000/svg}svg", caption)
        assert root[0].text == caption
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', drawing))
        assert used <= set(ids)


def test_text_stays_text(facts: Facts) -> None:
    """The browser shows names in its own font, and users can search for them."""
    (quality, *_) = result_figures(facts).values()

    assert all(f">{name}</text>" in quality for name in ("Teacher", "Fine-tuned student", "Distilled student"))


@pytest.mark.parametrize("latencies", [(38.4, 9.1, 9.2), (1.0, 3.0, 9.0), (2.0, 2.0, 2.0), (0.62, 3.99, 0.69)])
def test_names_are_within_the_figure(facts: Facts, latencies: tuple[float, float, float]) -> None:
    """Whichever system is the slowest: its name is on the left of its marker. Measured without a browser."""
    for system, latency in zip(facts["systems"], latencies, strict=True):
        system["latency_ms"]["p50"] = latency
    with figure_style():
        figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
        axes = figure.add_subplot()
        _draw_quality(axes, facts)
        figure.draw_without_rendering()
        names = [text.get_window_extent() for text in axes.texts]

    assert len(names) == 3
    for one in names:
        assert figure.bbox.x0 <= one.x0
        assert one.x1 <= figure.bbox.x1
        assert not any(one.overlaps(other) for other in names if other is not one)


def test_hostile_names_are_escaped(facts: Facts) -> None:
    """A metric's name cannot close its text element, shrink the axes, or be parsed as a formula."""
    for system in facts["systems"]:
        system["scores"]["bleu"]["label"] = "</text><script>alert($1$ $)</script>" + 9 * " and on"

    assert "<script" not in "".join(result_figures(facts).values())


def test_facts_that_are_missing_give_no_figure(facts: Facts) -> None:
    """Without latencies, curves and a pool there are no empty axes."""
    for system in facts["systems"]:
        system["latency_ms"] = {"p50": None, "p95": None}
    del facts["curves"], facts["pool"]

    assert result_figures(facts) == pool_figures(facts) == {}


def test_a_curve_with_gaps_and_without_seconds_is_drawn_over_steps(facts: Facts) -> None:
    """A loss that is not finite is left out; the rest of the curve is drawn."""
    facts["curves"] = {"joint_teaching": [{"step": 1, "train_loss": None}, {"step": 2, "train_loss": 1.0}]}
    figures = result_figures(facts)

    assert "Training loss" in figures
    assert ">steps</text>" in figures["Training loss"]
    assert "BLEU on dev during training" not in figures


def test_figures_have_the_colours_of_the_page(facts: Facts) -> None:
    """Every colour is a variable of the style sheet, which has a value for it in the light and the dark theme."""
    style = (Path(report.__file__).parent / "page.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[:2]

    for drawing in (result_figures(facts) | pool_figures(facts)).values():
        for variable in set(re.findall(r"var\((--[\w-]+), #", drawing)):
            assert f"{variable}:" in light
            assert f"{variable}:" in dark
        # What is left is in no visible mark: the patches of figure and axes are transparent.
        assert set(re.findall(r"(?<!, )#[0-9a-f]{6}", drawing)) <= {"#000000", "#ffffff"}


def test_a_legend_names_systems_whose_labels_would_overlap(facts: Facts) -> None:
    """Three systems with nearly equal scores: each name is there once, in a legend."""
    for system, milliseconds, score in zip(facts["systems"], (15.0, 8.0, 14.0), (65.9, 65.8, 65.7), strict=True):
        system["latency_ms"]["p50"] = milliseconds
        system["scores"]["bleu"] |= {"value": score, "low": score - 1, "high": score + 1}
    (quality, *_) = result_figures(facts).values()

    assert 'id="result0-legend_1"' not in next(iter(result_figures(facts_example()).values()))
    assert 'id="result0-legend_1"' in quality
    assert all(quality.count(f">{name}</text>") == 1 for name in ("Teacher", "Fine-tuned student", "Distilled student"))
