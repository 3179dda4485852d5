"""The figures of a report, as SVG elements for the page.

Each figure has one pair of axes; the page shows several side by side, or one below the other on a phone.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from understudy.report.facts import CurvePoint, Facts, ScoreFacts, score_of
from understudy.report.formatting import metric_heading, system_label, whole
from understudy.report.svg import FIGURE_SIZE, OTHER_STYLES, SYSTEM_STYLES, TEXT_COLOUR, figure_style, svg_element

LEFT, LABEL_WIDTH, LABEL_HEIGHT = 0.04, 0.5, 0.12
"""Of a system's name at its marker, as shares of the axes: where it begins, where it ends, and its height.

The name is on the right of a marker, or on its left if it would end outside the axes.
"""

CLOSE_LATENCY = 0.2
"""Difference of two latencies in natural logarithms below which the labels of two systems would overlap."""


def result_figures(facts: Facts) -> dict[str, str]:
    """Caption -> `<svg>` element: quality against latency, dev scores and loss during training."""
    metric = metric_heading(facts, facts["primary_metric"])
    return _figures(
        facts,
        {
            f"{metric} and latency of each system, with 95 % intervals": _draw_quality,
            f"{metric} on dev during training": _draw_dev,
            "Training loss": _draw_loss,
        },
        prefix="result",
    )


def pool_figures(facts: Facts) -> dict[str, str]:
    """Caption -> `<svg>` element: lengths and generators of the pseudo-targets."""
    return _figures(
        facts,
        {
            "Lengths of the pseudo-targets": _draw_lengths,
            "Generators of the pseudo-targets": _draw_generators,
        },
        prefix="pool",
    )


def _draw_quality(axes: Axes, facts: Facts) -> bool:
    points = [
        (system["name"], latency, score)
        for system in facts["systems"]
        if (score := score_of(system, facts["primary_metric"])) and (latency := system["latency_ms"]["p50"])
    ]
    for name, latency, score in points:
        colour, marker = _style(facts, name)
        errors, label = _error_bars(score), system_label(name)
        axes.errorbar(
            latency, score["value"], yerr=errors, fmt=marker, color=colour, markersize=8, capsize=4, label=label
        )
    if points:
        _set_log_scale(axes, [latency for _, latency, _ in points])
        axes.set(xlabel="median latency of one input, ms", ylabel=metric_heading(facts, facts["primary_metric"]))
        places = _places(axes, points)
        if _labels_fit(places):
            _label_points(axes, facts, points, places)
        else:
            axes.legend().set_in_layout(False)
    return bool(points)


def _label_points(
    axes: Axes, facts: Facts, points: Sequence[tuple[str, float, ScoreFacts]], places: Sequence[tuple[float, float]]
) -> None:
    """Writes each system's name next to its marker."""
    for (name, latency, score), (x_place, _) in zip(points, places, strict=True):
        side = _side(x_place)
        # Students of the same shape are equally fast: the label of the lower one goes below its marker.
        below = any(
            abs(math.log(x / latency)) < CLOSE_LATENCY and other["value"] > score["value"] for _, x, other in points
        )
        # A label longer than expected may extend beyond the figure, but must not shrink the axes.
        axes.annotate(
            system_label(name),
            (latency, score["value"]),
            xytext=(8 * side, -5 if below else 5),
            textcoords="offset points",
            horizontalalignment="left" if side > 0 else "right",
            verticalalignment="top" if below else "bottom",
            color=_style(facts, name)[0],
            fontweight="bold",
        ).set_in_layout(False)


def _places(axes: Axes, points: Sequence[tuple[str, float, ScoreFacts]]) -> list[tuple[float, float]]:
    """Where points are drawn, as shares of the axes."""
    axes.autoscale_view()  # else the limits are those of empty axes until the figure is drawn
    values = [(latency, score["value"]) for _, latency, score in points]
    return [(x, y) for x, y in axes.transLimits.transform(axes.transScale.transform(values))]


def _side(x: float) -> int:
    """1 if a name belongs on the right of its marker, -1 if it would end outside the axes there."""
    return 1 if x + LABEL_WIDTH <= 1 else -1


def _labels_fit(places: Sequence[tuple[float, float]]) -> bool:
    """Whether no point, and no name on the other side of a point, lies where the name of another belongs."""
    return not any(
        LEFT < _side(own_x) * (x - own_x) < LABEL_WIDTH * (1 if _side(x) == _side(own_x) else 2)
        and abs(y - own_y) < LABEL_HEIGHT
        for own_x, own_y in places
        for x, y in places
    )


def _draw_dev(axes: Axes, facts: Facts) -> bool:
    metric = facts["primary_metric"]
    axes.set_ylabel(metric_heading(facts, metric))
    return _draw_curves(axes, facts, lambda point: point.get("dev", {}).get(metric))


def _draw_loss(axes: Axes, facts: Facts) -> bool:
    axes.set_ylabel("nats per target position")
    return _draw_curves(axes, facts, lambda point: point.get("train_loss"))


def _draw_curves(axes: Axes, facts: Facts, value_of: Callable[[CurvePoint], float | None]) -> bool:
    curves = facts.get("curves", {})
    timed = all("seconds" in point for points in curves.values() for point in points)
    drawn = False
    for name, points in curves.items():
        known = [(point, value) for point in points if (value := value_of(point)) is not None]
        if known:
            colour, marker = _style(facts, name)
            axes.plot(
                [point["seconds"] / 60 if timed else point["step"] for point, _ in known],
                [value for _, value in known],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.8,
                label=system_label(name),
            )
            drawn = True
    if drawn:
        axes.set_xlabel("minutes of training" if timed else "steps")
        axes.legend().set_in_layout(False)
    return drawn


def _draw_lengths(axes: Axes, facts: Facts) -> bool:
    lengths = facts.get("pool", {}).get("lengths")
    if not lengths:
        return False
    axes.stairs(lengths["counts"], lengths["edges"], fill=True, color=OTHER_STYLES[0][0], alpha=0.85)
    axes.axvline(lengths["mean"], color=TEXT_COLOUR, linewidth=1, linestyle="--")
    axes.annotate(
        f"mean {lengths['mean']:.1f}",
        (lengths["mean"], 1),
        xycoords=("data", "axes fraction"),
        xytext=(5, -2),
        textcoords="offset points",
        verticalalignment="top",
    )
    axes.set(xlabel="tokens", ylabel="texts")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(round(value))))
    return True


def _draw_generators(axes: Axes, facts: Facts) -> bool:
    generators = facts.get("pool", {}).get("generators")
    if not generators:
        return False
    names = [name.capitalize() for name in generators]
    bars = axes.barh(names, list(generators.values()), color=OTHER_STYLES[0][0], alpha=0.85, height=0.5)
    axes.bar_label(bars, [whole(texts) for texts in generators.values()], padding=4)
    axes.set_ylim(len(names) - 0.25, -0.75)
    axes.set_xlim(0, 1.15 * max(generators.values()))
    axes.set_xlabel("texts")
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(round(value))))
    return True


def _figures(facts: Facts, drawings: Mapping[str, Callable[[Axes, Facts], bool]], *, prefix: str) -> dict[str, str]:
    """Caption -> element of each drawing; without those that return False because the facts hold nothing to draw."""
    elements = {}
    for number, (caption, draw) in enumerate(drawings.items()):
        with figure_style():
            figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
            if draw(figure.add_subplot(), facts):
                elements[caption] = svg_element(figure, caption, prefix=f"{prefix}{number}")
    return elements


def _style(facts: Facts, name: str) -> tuple[str, str]:
    """The colour and marker of a system."""
    if name in SYSTEM_STYLES:
        return SYSTEM_STYLES[name]
    names = [facts["method"], *(system["name"] for system in facts["systems"]), *facts.get("curves", {})]
    others = [other for other in dict.fromkeys(names) if other not in SYSTEM_STYLES]
    return OTHER_STYLES[others.index(name) % len(OTHER_STYLES)]


def _error_bars(score: ScoreFacts) -> list[list[float]] | None:
    if score["low"] is None or score["high"] is None:
        return None
    # With few resamples, all of them may lie above, or all below, the score itself.
    return [[max(0, score["value"] - score["low"])], [max(0, score["high"] - score["value"])]]


def _set_log_scale(axes: Axes, values: list[float]) -> None:
    axes.set_xscale("log")
    # The labels are to the right of the markers, inside the axes.
    axes.set_xlim(min(values) / 1.5, max(values) * max(2.0, (max(values) / min(values)) ** 0.5))
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.margins(y=0.15)
