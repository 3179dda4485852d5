"""Renders the page templates of this folder with Jinja, escaping all text.

Only this module marks text as trusted: the figures, whose text matplotlib escapes, and the files of this folder.
"""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from understudy.characters import visible
from understudy.report.formatting import fixed, system_label

TEMPLATES = Path(__file__).parent


def render_template(name: str, **values: object) -> str:
    """A template of this folder, filled with the values and the shared style sheet."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters.update(system=system_label, fixed=fixed)
    return environment.get_template(name).render(style=trusted_file("page.css"), **values)


def trusted_file(name: str) -> Markup:
    """A file of this folder, to be included without escaping."""
    return Markup((TEMPLATES / name).read_text("utf-8"))  # noqa: S704 - a file of the package


def trusted_figures(figures: Mapping[str, str]) -> dict[str, Markup]:
    """Caption -> `<svg>` element, to be included without escaping."""
    return {caption: Markup(drawing) for caption, drawing in figures.items()}  # noqa: S704 - matplotlib escapes text


def _shown(value: object) -> object:
    """Text with its control characters visible; figures and files of the package as they are."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
