"""The figures of confidence and deferral, as SVG elements in the style of the report."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.report.confidence_facts import ConfidenceFacts, ReliabilityFacts
from understudy.report.facts import TEACHER, Facts
from understudy.report.formatting import metric_heading
from understudy.report.svg import FIGURE_SIZE, OTHER_STYLES, SYSTEM_STYLES, TEXT_COLOUR, figure_style, svg_element

SYSTEM_COLOUR, CHANCE_COLOUR = OTHER_STYLES[0][0], SYSTEM_STYLES[TEACHER][0]


def deferral_figures(facts: Facts) -> dict[str, str]:
    """Caption -> `<svg>` element: the score by share deferred, and the reliability of the probabilities."""
    own = facts.get("confidence")
    if own is None:
        return {}
    heading = metric_heading(facts, own["metric"])
    counts = sorted({one["count"] for one in own["reliability"]})
    texts = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))

    def curve(axes: Axes) -> None:
        _draw_curve(axes, own, heading)

    def diagram(axes: Axes) -> None:
        _draw_reliability(axes, own)

    drawings: dict[str, Callable[[Axes], None]] = {
        f"{heading} on test by share deferred to the teacher, with 95 % intervals": curve,
        f"Reliability on test: each point is {texts} texts of similar probability": diagram,
    }
    elements = {}
    for number, (caption, draw) in enumerate(drawings.items()):
        with figure_style():
            figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
            draw(figure.add_subplot())
            elements[caption] = svg_element(figure, caption, prefix=f"deferral{number}")
    return elements


def _draw_curve(axes: Axes, own: ConfidenceFacts, heading: str) -> None:
    points = own["test"]
    shares = [100 * point["deferred"] for point in points]
    axes.fill_between(
        shares,
        [point["low"] for point in points],
        [point["high"] for point in points],
        color=SYSTEM_COLOUR,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(shares, [point["score"] for point in points], color=SYSTEM_COLOUR, linewidth=1.8, label="by confidence")
    axes.plot(shares, [point["random"] for point in points], color=CHANCE_COLOUR, linestyle="--", label="at random")
    axes.set(xlabel="share deferred, %", ylabel=heading, xlim=(0, 100))
    axes.legend().set_in_layout(False)


def _draw_reliability(axes: Axes, own: ConfidenceFacts) -> None:
    axes.plot((0, 1), (0, 1), color=TEXT_COLOUR, linewidth=0.8)
    _draw_bins(axes, own["reliability_before"], SYSTEM_STYLES[TEACHER], "confidence")
    _draw_bins(axes, own["reliability"], OTHER_STYLES[0], "calibrated")
    axes.set(xlabel="predicted probability", ylabel="share as good as the teacher's", xlim=(0, 1), ylim=(0, 1))
    axes.legend().set_in_layout(False)


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityFacts], style: tuple[str, str], label: str) -> None:
    colour, marker = style
    axes.plot(
        [one["probability"] for one in bins],
        [one["share"] for one in bins],
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.2,
        label=label,
    )
