"""The figures of a report, as SVG that stands inside the page.

Each figure has one set of axes; the page lays several side by side, or one below the other on a phone.
Colours are Okabe and Ito's (2008), told apart with every kind of colour vision; shapes tell them apart again.
Equal facts give equal bytes.
"""

import html
import math
import re
from collections.abc import Callable, Mapping
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from understudy.report.facts import FINE_TUNED, TEACHER, CurvePoint, Facts, ScoreFacts, score_of
from understudy.report.wording import metric_label, system_label, whole

INK, FAINT = "#3b4252", "#dfe3ea"

LOOKS = {TEACHER: ("#5b6675", "s"), FINE_TUNED: ("#b46f00", "^")}
"""System -> its colour and marker; the distilled student and any further system take theirs from `OTHERS`."""

OTHERS = (("#0072b2", "o"), ("#009e73", "D"), ("#b3598a", "v"), ("#d55e00", "P"))

CLOSE = 0.2
"""Systems whose latencies differ by less than this, in natural logarithms, stand above one another."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    # The page shows its own font; DejaVu is a little wider, so what has room here has room there.
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "grid.color": FAINT,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "understudy",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}

Draw = Callable[[Axes, Facts], bool]
"""Draws into the axes; false where the facts hold nothing to draw."""


def result_figures(facts: Facts) -> dict[str, str]:
    """Caption -> `<svg>` element, for quality against latency and the course of training."""
    metric = metric_label(facts["primary_metric"])
    return _drawn(
        facts,
        {
            f"{metric} and latency of each system, with 95 % intervals": _draw_quality,
            f"{metric} on dev during training": _draw_dev,
            "Training loss": _draw_loss,
        },
        prefix="result",
    )


def pool_figures(facts: Facts) -> dict[str, str]:
    """Caption -> `<svg>` element, for the pool's lengths and who wrote it."""
    return _drawn(
        facts,
        {
            "Lengths of the pseudo-targets": _draw_lengths,
            "Who wrote the pseudo-targets": _draw_generators,
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
        colour, marker = _look(facts, name)
        axes.errorbar(latency, score["value"], yerr=_arms(score), fmt=marker, color=colour, markersize=8, capsize=4)
        # Students of one shape are equally fast: the name of the lower one goes below its marker.
        below = any(abs(math.log(x / latency)) < CLOSE and other["value"] > score["value"] for _, x, other in points)
        # A long name may leave the figure, but must not press the axes together.
        axes.annotate(
            system_label(name),
            (latency, score["value"]),
            xytext=(8, -5 if below else 5),
            textcoords="offset points",
            verticalalignment="top" if below else "bottom",
            color=colour,
            fontweight="bold",
        ).set_in_layout(False)
    if points:
        _logarithmic(axes, [latency for _, latency, _ in points])
        axes.set(xlabel="median latency of one input, ms", ylabel=metric_label(facts["primary_metric"]))
    return bool(points)


def _draw_dev(axes: Axes, facts: Facts) -> bool:
    metric = facts["primary_metric"]
    axes.set_ylabel(metric_label(metric))
    return _draw_curves(axes, facts, lambda point: point.get("dev", {}).get(metric))


def _draw_loss(axes: Axes, facts: Facts) -> bool:
    axes.set_ylabel("nats per target position")
    return _draw_curves(axes, facts, lambda point: point.get("train_loss"))


def _draw_curves(axes: Axes, facts: Facts, read: Callable[[CurvePoint], float | None]) -> bool:
    curves = facts.get("curves", {})
    timed = all("seconds" in point for points in curves.values() for point in points)
    drawn = False
    for name, points in curves.items():
        read_points = [(point, value) for point in points if (value := read(point)) is not None]
        if read_points:
            colour, marker = _look(facts, name)
            axes.plot(
                [point["seconds"] / 60 if timed else point["step"] for point, _ in read_points],
                [value for _, value in read_points],
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
    axes.stairs(lengths["counts"], lengths["edges"], fill=True, color=OTHERS[0][0], alpha=0.85)
    axes.axvline(lengths["mean"], color=INK, linewidth=1, linestyle="--")
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
    bars = axes.barh(names, list(generators.values()), color=OTHERS[0][0], alpha=0.85, height=0.5)
    axes.bar_label(bars, [whole(texts) for texts in generators.values()], padding=4)
    axes.set_ylim(len(names) - 0.25, -0.75)
    axes.set_xlim(0, 1.15 * max(generators.values()))
    axes.set_xlabel("texts")
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(round(value))))
    return True


def _drawn(facts: Facts, drawings: Mapping[str, Draw], *, prefix: str) -> dict[str, str]:
    made = {}
    for number, (caption, draw) in enumerate(drawings.items()):
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(4.3, 3.0), layout="constrained")
            if draw(figure.add_subplot(), facts):
                made[caption] = _svg(figure, caption, prefix=f"{prefix}{number}")
    return made


def _svg(figure: Figure, title: str, *, prefix: str) -> str:
    """The figure as an element: titled, without a prologue, its ids its own among the figures of a page."""
    written = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", metadata=nothing, transparent=True)
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # A style sheet inside would rule the whole page.
    drawing = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", drawing)
    drawing = re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
    name = html.escape(title)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{name}"', 1).replace(">", f"><title>{name}</title>", 1)


def _look(facts: Facts, name: str) -> tuple[str, str]:
    others = [facts["method"], *(system["name"] for system in facts["systems"]), *facts.get("curves", {})]
    place = [other for other in dict.fromkeys(others) if other not in LOOKS].index(name) if name not in LOOKS else 0
    return LOOKS.get(name, OTHERS[place % len(OTHERS)])


def _arms(score: ScoreFacts) -> list[list[float]] | None:
    if score["low"] is None or score["high"] is None:
        return None
    # Of a few resamples none may be as high, or as low, as the score itself.
    return [[max(0, score["value"] - score["low"])], [max(0, score["high"] - score["value"])]]


def _logarithmic(axes: Axes, values: list[float]) -> None:
    axes.set_xscale("log")
    # The names stand to the right of the markers, within the axes.
    axes.set_xlim(min(values) / 1.5, max(values) * max(2.0, (max(values) / min(values)) ** 0.5))
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.margins(y=0.15)
