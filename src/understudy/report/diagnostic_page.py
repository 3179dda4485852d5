"""The diagnostics as one HTML page that needs no network and runs no script."""

from pathlib import Path

from understudy.report.diagnostic_figures import completion_figures, depth_figures, exposure_figures
from understudy.report.diagnostics import (
    Diagnostics,
    completion_table,
    depth_table,
    exposure_table,
    summary_sentence,
)
from understudy.report.tables import pool_table
from understudy.report.templates import render_template, trusted_figures
from understudy.store.disk import write_text


def render_diagnostics(facts: Diagnostics) -> str:
    """The complete page. Equal facts give equal pages."""
    return render_template(
        "diagnostics.html.jinja",
        facts=facts,
        summary=summary_sentence(facts),
        tables={
            "exposure": exposure_table(facts),
            "completion": completion_table(facts),
            "depths": depth_table(facts),
            "pool": pool_table(facts["pool"]),
        },
        figures={
            "exposure": trusted_figures(exposure_figures(facts)),
            "completion": trusted_figures(completion_figures(facts)),
            "depths": trusted_figures(depth_figures(facts)),
        },
    )


def write_diagnostics(facts: Diagnostics, folder: Path) -> Path:
    """Write `diagnostics.html` into an existing folder, replacing an earlier one.

    Returns:
        The path of the page.
    """
    page = folder / "diagnostics.html"
    write_text(page, render_diagnostics(facts))
    return page
