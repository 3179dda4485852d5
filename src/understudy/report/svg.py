"""The common style of the figures, and their conversion to SVG elements inside a page.

The colours are those of Okabe and Ito (2008), which people with colour vision deficiency can distinguish; markers
distinguish the systems as well. Equal facts give equal bytes.
"""

import html
import re
from contextlib import AbstractContextManager
from io import StringIO

import matplotlib as mpl
from matplotlib.figure import Figure

from understudy.report.facts import FINE_TUNED, TEACHER

TEXT_COLOUR, GRID_COLOUR = "#3b4252", "#dfe3ea"

SYSTEM_STYLES = {TEACHER: ("#5b6675", "s"), FINE_TUNED: ("#b46f00", "^")}
"""System -> colour and marker; the distilled student and any further system use `OTHER_STYLES`."""

OTHER_STYLES = (("#0072b2", "o"), ("#009e73", "D"), ("#b3598a", "v"), ("#d55e00", "P"))

_VARIABLES = {TEXT_COLOUR: "--text", GRID_COLOUR: "--line"} | {
    colour: f"--series-{number}" for number, (colour, _) in enumerate((*SYSTEM_STYLES.values(), *OTHER_STYLES))
}
"""Colour -> the variable of `page.css` that replaces it, so that figures follow the page's light or dark theme."""

_COLOURS = re.compile("|".join(_VARIABLES))

FIGURE_SIZE = (4.3, 3.0)
"""Width and height in inches."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": TEXT_COLOUR,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": TEXT_COLOUR,
    "axes.spines.right": False,
    "axes.spines.top": False,
    # The page shows its own font. DejaVu is a little wider, so text that fits here also fits there.
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "grid.color": GRID_COLOUR,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "understudy",
    "text.color": TEXT_COLOUR,
    "text.parse_math": False,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
}


def figure_style() -> AbstractContextManager[None]:
    """The matplotlib settings under which a figure is created, drawn and saved."""
    return mpl.rc_context(STYLE)


def svg_element(figure: Figure, title: str, *, prefix: str) -> str:
    """The figure as an `<svg>` element with a title, without an XML prologue.

    Args:
        figure: drawn under `figure_style`.
        title: the caption, for screen readers.
        prefix: of all ids, so that they are unique among the figures of a page.
    """
    written = StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", metadata=no_metadata, transparent=True)
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # A style sheet inside the element would apply to the whole page.
    drawing = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", drawing)
    drawing = re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
    # In tags only: matplotlib escapes < and > in text.
    drawing = re.sub(r"<[^>]+>", lambda tag: _COLOURS.sub(_variable, tag[0]), drawing)
    name = html.escape(title)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{name}"', 1).replace(">", f"><title>{name}</title>", 1)


def _variable(colour: re.Match[str]) -> str:
    return f"var({_VARIABLES[colour[0]]}, {colour[0]})"
