import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy
import understudy.config
from understudy.config.section import Section

PACKAGE = Path(understudy.__file__).parent
READ_OTHERWISE = {
    "base": "check_study puts the tasks over it; Growing.base is read by a pattern",
    "kind": "selects the variant",
    "from_": "states in a recipe what is pruned; it has one possible value",
    "overrides": "cells_of puts it over the task's recipe",
    "student_seed": "Recipe.seed_of_students returns it",
    "teacher_logprobs": "Distil.kept_tokens returns its number of tokens",
    **dict.fromkeys(("alpha", "beta", "label_smoothing"), "keyword of an objective (test_objectives.py)"),
    "n": "keyword of a selection (test_pool_selection.py)",
}
"""Fields that no attribute access outside of `config` shows -> how they are used."""


def sections(base: type[Section] = Section) -> Iterator[type[Section]]:
    """Yields every section of the package."""
    for module in pkgutil.iter_modules(understudy.config.__path__):
        importlib.import_module(f"understudy.config.{module.name}")
    for section in base.__subclasses__():
        yield section
        yield from sections(section)


SECTIONS = sorted(set(sections()), key=lambda section: section.__name__)


def attributes_read() -> set[str]:
    """Returns the names of all attributes that code outside of `config` accesses."""
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if path.parent.name != "config"]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_field_is_read() -> None:
    """A setting without effect would mislead users. Names are compared, not types: a shared name counts for both."""
    used = attributes_read() | READ_OTHERWISE.keys()
    unused = {(section.__name__, name) for section in SECTIONS for name in section.model_fields if name not in used}

    assert unused == set()


def test_every_exception_is_a_field() -> None:
    """The list above has no leftovers."""
    assert {name for section in SECTIONS for name in section.model_fields} >= READ_OTHERWISE.keys()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_a_section_is_closed_and_frozen(section: type[Section]) -> None:
    """Unknown keys are errors, and checked settings do not change."""
    assert section.model_config.get("extra") == "forbid"
    assert section.model_config.get("frozen")
