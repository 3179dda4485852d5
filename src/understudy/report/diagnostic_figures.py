"""The figures of the diagnostics, as SVG in the looks of the report's."""

from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.report.diagnostics import DepthFacts, Diagnostics, depth_label
from understudy.report.facts import FINE_TUNED
from understudy.report.figures import INK, LOOKS, OTHERS, STYLE, _svg
from understudy.report.wording import metric_label, system_label

Draw = Callable[[Axes, Diagnostics], None]


def exposure_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: the excess error, what it is made of, and the teacher's entropy."""
    drawings: dict[str, Draw] = {
        "Excess accumulated error by length, with 95 % intervals": _draw_excess,
        "KL(teacher || student) at each position": _draw_divergence,
        "The teacher's entropy at each position": _draw_entropy,
    }
    return {caption: _drawn(facts, caption, draw, f"exposure{i}") for i, (caption, draw) in enumerate(drawings.items())}


def guided_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: the score by how much of the text the student wrote."""
    caption = f"{metric_label(facts['metric'])} on dev when the teacher finishes, with 95 % intervals"
    return {caption: _drawn(facts, caption, _draw_guided, "guided")}


def depth_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: latency and throughput by length, a line per depth; none without depths."""
    if "depths" not in facts:
        return {}

    def latency(axes: Axes, facts: Diagnostics) -> None:
        _draw_depths(axes, facts, lambda cost: cost["latency_ms"], "latency of one input, ms")

    def throughput(axes: Axes, facts: Diagnostics) -> None:
        _draw_depths(axes, facts, lambda cost: cost["throughput_per_s"], "outputs per second")

    drawings: dict[str, Draw] = {
        "Latency by length, encoder:decoder layers": latency,
        "Throughput by length, encoder:decoder layers": throughput,
    }
    return {caption: _drawn(facts, caption, draw, f"depth{i}") for i, (caption, draw) in enumerate(drawings.items())}


def _draw_excess(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        band, colour = own["excess_error"], _look(name)[0]
        lengths = range(1, len(band["value"]) + 1)
        axes.plot(lengths, band["value"], color=colour, label=system_label(name))
        axes.fill_between(lengths, band["low"], band["high"], color=colour, alpha=0.18, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    _positions(axes, "length in tokens", "ExAccErr, %")


def _draw_divergence(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        colour, label = _look(name)[0], system_label(name)
        axes.plot(range(1, len(own["on_student"]) + 1), own["on_student"], color=colour, label=f"{label}, own text")
        axes.plot(
            range(1, len(own["on_teacher"]) + 1),
            own["on_teacher"],
            color=colour,
            linestyle="--",
            label=f"{label}, teacher's text",
        )
    _positions(axes, "position", "nats")


def _draw_entropy(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        values = own["entropy_on_student"]["by_position"]
        axes.plot(range(1, len(values) + 1), values, color=_look(name)[0], label=f"{system_label(name)}'s text")
    values = facts["students"][facts["method"]]["entropy_on_teacher"]["by_position"]
    axes.plot(range(1, len(values) + 1), values, color=INK, linestyle="--", label="teacher's text")
    _positions(axes, "position", "nats")


def _draw_guided(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        colour, marker = _look(name)
        points = [
            (score["percent"], score["value"], score["low"], score["high"])
            for score in own["guided"]
            if score["value"] is not None and score["low"] is not None and score["high"] is not None
        ]
        axes.errorbar(
            [percent for percent, *_ in points],
            [value for _, value, *_ in points],
            yerr=[
                [max(0, value - low) for _, value, low, _ in points],
                [max(0, high - value) for _, value, _, high in points],
            ],
            color=colour,
            marker=marker,
            capsize=3,
            label=system_label(name),
        )
    axes.set(xlabel="share of the text that the student wrote, %", ylabel=metric_label(facts["metric"]))
    axes.legend().set_in_layout(False)


def _draw_depths(axes: Axes, facts: Diagnostics, read: Callable[[DepthFacts], float], unit: str) -> None:
    costs = facts["depths"]["costs"]
    for place, label in enumerate(dict.fromkeys(map(depth_label, costs))):
        own = [cost for cost in costs if depth_label(cost) == label]
        colour, marker = ((INK, "s"), *OTHERS)[place % (1 + len(OTHERS))]
        axes.plot([c["tokens"] for c in own], [read(c) for c in own], color=colour, marker=marker, label=label)
    axes.set_ylim(bottom=0)
    _positions(axes, "tokens of the output", unit)


def _positions(axes: Axes, along: str, unit: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=along, ylabel=unit)
    axes.legend().set_in_layout(False)


def _drawn(facts: Diagnostics, caption: str, draw: Draw, prefix: str) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 3.0), layout="constrained")
        draw(figure.add_subplot(), facts)
        return _svg(figure, caption, prefix=prefix)


def _look(name: str) -> tuple[str, str]:
    return LOOKS[FINE_TUNED] if name == FINE_TUNED else OTHERS[0]
