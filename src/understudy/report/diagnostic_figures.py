"""The figures of the diagnostics, as SVG elements in the style of the report."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.report.diagnostics import DepthFacts, Diagnostics, depth_label
from understudy.report.formatting import system_label
from understudy.report.svg import FIGURE_SIZE, OTHER_STYLES, SYSTEM_STYLES, TEXT_COLOUR, figure_style, svg_element

DrawDiagnostics = Callable[[Axes, Diagnostics], None]


def exposure_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: excess error, KL divergence and teacher entropy by position."""
    drawings: dict[str, DrawDiagnostics] = {
        "Excess accumulated error by length, with 95 % intervals": _draw_excess_error,
        "KL(teacher || student) at each position": _draw_divergence,
        "Teacher entropy at each position": _draw_entropy,
    }
    return _diagnostic_figures(facts, drawings, prefix="exposure")


def completion_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: the score by the student's share of the text."""
    caption = f"{facts['metric_label']} on dev of texts that the teacher completes, with 95 % intervals"
    return _diagnostic_figures(facts, {caption: _draw_completion}, prefix="completion")


def depth_figures(facts: Diagnostics) -> dict[str, str]:
    """Caption -> `<svg>` element: latency and throughput by length, one line per depth; none without depths."""
    if "depths" not in facts:
        return {}

    def latency(axes: Axes, facts: Diagnostics) -> None:
        _draw_depths(axes, facts, lambda cost: cost["latency_ms"], "latency of one input, ms")

    def throughput(axes: Axes, facts: Diagnostics) -> None:
        _draw_depths(axes, facts, lambda cost: cost["throughput_per_s"], "outputs per second")

    drawings: dict[str, DrawDiagnostics] = {
        "Latency by length, encoder:decoder layers": latency,
        "Throughput by length, encoder:decoder layers": throughput,
    }
    return _diagnostic_figures(facts, drawings, prefix="depth")


def _draw_excess_error(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        band, colour = own["excess_error"], _student_style(name)[0]
        lengths = range(1, len(band["value"]) + 1)
        axes.plot(lengths, band["value"], color=colour, label=system_label(name))
        axes.fill_between(lengths, band["low"], band["high"], color=colour, alpha=0.18, linewidth=0)
    axes.axhline(0, color=TEXT_COLOUR, linewidth=0.8)
    _label_axes(axes, "length in tokens", "ExAccErr, %")


def _draw_divergence(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        colour, label = _student_style(name)[0], system_label(name)
        axes.plot(
            range(1, len(own["kl_on_student_text"]) + 1),
            own["kl_on_student_text"],
            color=colour,
            label=f"{label}, own text",
        )
        axes.plot(
            range(1, len(own["kl_on_teacher_text"]) + 1),
            own["kl_on_teacher_text"],
            color=colour,
            linestyle="--",
            label=f"{label}, teacher text",
        )
    _label_axes(axes, "position", "nats")


def _draw_entropy(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        values = own["teacher_entropy_on_student_text"]["by_position"]
        label = f"{system_label(name)} text"
        axes.plot(range(1, len(values) + 1), values, color=_student_style(name)[0], label=label)
    values = facts["students"][facts["method"]]["teacher_entropy_on_teacher_text"]["by_position"]
    axes.plot(range(1, len(values) + 1), values, color=TEXT_COLOUR, linestyle="--", label="Teacher text")
    _label_axes(axes, "position", "nats")


def _draw_completion(axes: Axes, facts: Diagnostics) -> None:
    for name, own in facts["students"].items():
        colour, marker = _student_style(name)
        points = [
            (score["percent"], score["value"], score["low"], score["high"])
            for score in own["completion_scores"]
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
    axes.set(xlabel="student's share of the text, %", ylabel=facts["metric_label"])
    axes.legend().set_in_layout(False)


def _draw_depths(axes: Axes, facts: Diagnostics, value_of: Callable[[DepthFacts], float], unit: str) -> None:
    costs = facts["depths"]["costs"]
    for place, label in enumerate(dict.fromkeys(map(depth_label, costs))):
        own = [cost for cost in costs if depth_label(cost) == label]
        colour, marker = ((TEXT_COLOUR, "s"), *OTHER_STYLES)[place % (1 + len(OTHER_STYLES))]
        axes.plot([c["tokens"] for c in own], [value_of(c) for c in own], color=colour, marker=marker, label=label)
    axes.set_ylim(bottom=0)
    _label_axes(axes, "tokens of the output", unit)


def _label_axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend().set_in_layout(False)


def _diagnostic_figures(facts: Diagnostics, drawings: dict[str, DrawDiagnostics], *, prefix: str) -> dict[str, str]:
    elements = {}
    for number, (caption, draw) in enumerate(drawings.items()):
        with figure_style():
            figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
            draw(figure.add_subplot(), facts)
            elements[caption] = svg_element(figure, caption, prefix=f"{prefix}{number}")
    return elements


def _student_style(name: str) -> tuple[str, str]:
    return SYSTEM_STYLES.get(name, OTHER_STYLES[0])
