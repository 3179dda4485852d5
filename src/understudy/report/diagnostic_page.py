"""The diagnostics as one HTML page that needs no network and runs no script."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from understudy.report import tables, wording
from understudy.report.diagnostic_figures import depth_figures, exposure_figures, guided_figures
from understudy.report.diagnostics import (
    Diagnostics,
    depth_table,
    exposure_table,
    guided_table,
    sentence,
)
from understudy.report.facts import Facts
from understudy.report.page import HERE


def render_diagnostics(facts: Diagnostics) -> str:
    """The whole page. The same facts give the same page."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(metric=wording.metric_label, system=wording.system_label)
    return environment.get_template("diagnostics.html.jinja").render(
        facts=facts,
        sentence=sentence(facts),
        tables={
            "exposure": exposure_table(facts),
            "guided": guided_table(facts),
            "depths": depth_table(facts),
            "pool": tables.pool_table(_pool_alone(facts)),
        },
        figures={
            "exposure": _trusted(exposure_figures(facts)),
            "guided": _trusted(guided_figures(facts)),
            "depths": _trusted(depth_figures(facts)),
        },
        style=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704 - our own file
    )


def write_diagnostics(facts: Diagnostics, folder: Path) -> Path:
    """Write `diagnostics.html` into an existing folder; an earlier one is replaced.

    Returns:
        The path of the page.
    """
    page = folder / "diagnostics.html"
    page.write_text(render_diagnostics(facts), "utf-8")
    return page


def _pool_alone(facts: Diagnostics) -> Facts:
    """As much of a report's facts as its table of the pool reads."""
    return {
        "task": facts["run"],
        "primary_metric": facts["metric"],
        "systems": [],
        "gap_closed": {},
        "method": facts["method"],
        "pool": facts["pool"],
    }


def _trusted(figures: dict[str, str]) -> dict[str, Markup]:
    return {caption: Markup(drawing) for caption, drawing in figures.items()}  # noqa: S704 - matplotlib escapes text
