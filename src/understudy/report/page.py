"""The report as one HTML page that needs no network.

Fills the template beside it; what is said stands in `verdict.py` and `tables.py`, what is drawn in
`figures.py`. All text is escaped by the template, and the page's own policy lets no other script run.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from understudy.report import tables, wording
from understudy.report.facts import Facts, write_json
from understudy.report.figures import pool_figures, result_figures
from understudy.report.verdict import key_numbers, standing, verdict

REPORT = "report.json"
HERE = Path(__file__).parent


def render(facts: Facts) -> str:
    """The whole page. The same facts give the same page.

    Args:
        facts: what the run found out; parts that are absent are left out of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        system=wording.system_label, metric=wording.metric_label, fixed=wording.fixed, whole=wording.whole
    )
    script = (HERE / "page.js").read_text("utf-8")
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        verdict=verdict(facts),
        standing=standing(facts),
        tiles=key_numbers(facts),
        tables=_tables(facts),
        result_figures=_trusted(result_figures(facts)),
        pool_figures=_trusted(pool_figures(facts)),
        style=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def write_report(facts: Facts, folder: Path) -> Path:
    """Write `report.html` and `report.json`.

    Args:
        facts: what the run found out.
        folder: an existing folder; earlier reports in it are replaced.

    Returns:
        The path of the page.
    """
    page = folder / "report.html"
    page.write_text(render(facts), "utf-8")
    write_json(facts, folder / REPORT)
    return page


def _tables(facts: Facts) -> dict[str, tables.Table]:
    return {
        "quality": tables.quality_table(facts),
        "costs": tables.costs_table(facts),
        "gap": tables.gap_table(facts),
        "stages": tables.stages_table(facts),
        "data": tables.data_table(facts),
        "pool": tables.pool_table(facts),
        "bought": tables.bought_table(facts),
    }


def _trusted(figures: dict[str, str]) -> dict[str, Markup]:
    return {caption: Markup(drawing) for caption, drawing in figures.items()}  # noqa: S704 - matplotlib escapes text
