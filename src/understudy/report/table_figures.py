"""The figures of a results table: the share of the gap each method closes, over all tasks and for each task."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.report.content_facts import Interval
from understudy.report.svg import FIGURE_SIZE, OTHER_STYLES, TEXT_COLOUR, figure_style, svg_element
from understudy.report.table_facts import ResultsTable

AXIS_HEIGHT, HEIGHT_PER_METHOD = 1.1, 0.34
"""Inches for the axis of a figure, and for each method."""
MAX_NAME_LENGTH = 26
"""Characters of a method's name that fit next to the axes."""


def results_table_figures(results: ResultsTable) -> dict[str, str]:
    """Caption -> `<svg>` element; a figure without any value is left out."""
    elements = {}
    for number, (caption, shares) in enumerate(_shares(results).items()):
        known = {method: share for method, share in shares.items() if share["value"] is not None}
        if known:
            with figure_style():
                size = (FIGURE_SIZE[0], AXIS_HEIGHT + HEIGHT_PER_METHOD * len(known))
                figure = Figure(figsize=size, layout="constrained")
                _draw_shares(figure.add_subplot(), known)
                elements[caption] = svg_element(figure, caption, prefix=f"results_table{number}")
    return elements


def _shares(results: ResultsTable) -> dict[str, dict[str, Interval]]:
    """Caption -> method -> its mean share of the gap on dev."""
    shares: dict[str, dict[str, Interval]] = {}
    if len(results["tasks"]) > 1:
        shares["Share of the gap closed on dev, all tasks"] = {
            row["method"]: row["dev"]["all"]["mean"] for row in results["summary"]
        }
    for task in results["tasks"]:
        shares[f"Share of the gap closed on dev, {task}"] = {
            row["method"]: row["dev"]["tasks"][task]["mean"]
            for row in results["summary"]
            if task in row["dev"]["tasks"]
        }
    return shares


def _draw_shares(axes: Axes, shares: dict[str, Interval]) -> None:
    colour, marker = OTHER_STYLES[0]
    for place, share in enumerate(shares.values()):
        value = 100 * (share["value"] or 0)
        if share["low"] is not None and share["high"] is not None:
            axes.plot([100 * share["low"], 100 * share["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(value, place, marker=marker, color=colour, markersize=7)
    names = [name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…" for name in shares]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color=TEXT_COLOUR, linewidth=1)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("share of the gap, %")
