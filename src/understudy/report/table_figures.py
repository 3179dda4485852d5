"""The figures of a results_table: the share of the gap each method closes, one panel over all tasks and one per task."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.report.facts import Interval
from understudy.report.figures import INK, OTHERS, STYLE, _svg
from understudy.report.table_facts import ResultsTable

WIDTH, HEAD, PER_METHOD = 4.3, 1.1, 0.34
"""Inches: of a figure, of its axis, and what each method adds to its height."""
LONGEST = 26
"""Characters of a method's name that fit beside the axes."""


def ladder_figures(results_table: ResultsTable) -> dict[str, str]:
    """Caption -> `<svg>` element; a panel without any number is left out."""
    panels: dict[str, dict[str, Interval]] = {}
    if len(results_table["tasks"]) > 1:
        panels["Share of the gap closed on dev, all tasks"] = {
            row["method"]: row["dev"]["all"]["mean"] for row in results_table["summary"]
        }
    for task in results_table["tasks"]:
        panels[f"Share of the gap closed on dev, {task}"] = {
            row["method"]: row["dev"]["tasks"][task]["mean"]
            for row in results_table["summary"]
            if task in row["dev"]["tasks"]
        }
    made = {}
    for number, (caption, shares) in enumerate(panels.items()):
        known = {method: share for method, share in shares.items() if share["value"] is not None}
        if known:
            with mpl.rc_context(STYLE):
                figure = Figure(figsize=(WIDTH, HEAD + PER_METHOD * len(known)), layout="constrained")
                _draw(figure.add_subplot(), known)
                made[caption] = _svg(figure, caption, prefix=f"results_table{number}")
    return made


def _draw(axes: Axes, shares: dict[str, Interval]) -> None:
    colour, marker = OTHERS[0]
    for place, share in enumerate(shares.values()):
        value = 100 * (share["value"] or 0)
        if share["low"] is not None and share["high"] is not None:
            axes.plot([100 * share["low"], 100 * share["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(value, place, marker=marker, color=colour, markersize=7)
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in shares]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color=INK, linewidth=1)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("% of the gap")
