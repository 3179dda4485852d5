"""The public names, and what importing them loads."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import understudy
from understudy.objectives.divergences import OBJECTIVES

HEAVY = ("torch", "transformers", "ctranslate2", "pyarrow", "pydantic", "numpy", "matplotlib")
PYTHON_PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def loaded_by(statement: str) -> list[str]:
    """The heavy libraries that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint('\\nheavy:', *(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_the_public_names_are_those_of_the_table() -> None:
    """`__all__`, which type checkers read, names what the table can load, and the version."""
    assert sorted(understudy.__all__) == sorted([*understudy._MODULES, "__version__"])
    assert dir(understudy) == sorted(understudy.__all__)


def test_every_public_name_is_documented() -> None:
    """A name is added to or removed from docs/python.md together with the code: users build on each of them."""
    page = PYTHON_PAGE.read_text(encoding="utf-8")
    assert {name for name in understudy.__all__ if not re.search(rf"\b{name}\b", page)} == set()


def test_every_objective_is_public() -> None:
    """Each function of the table of objectives can be imported from the package."""
    names = {objective.function.__name__ for objective in OBJECTIVES.values()}
    assert names <= set(understudy.__all__)


@pytest.mark.parametrize("name", sorted(understudy._MODULES))
def test_a_public_name_is_the_object_of_its_module(name: str) -> None:
    """The package hands out the very object that the module defines."""
    assert getattr(understudy, name) is getattr(import_module(f"understudy.{understudy._MODULES[name]}"), name)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """The error is the one Python expects of a module."""
    with pytest.raises(AttributeError, match=r"no attribute 'distill'.*read_recipe, read_study"):
        understudy.distill  # noqa: B018 - the access is the test


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Catching the package's errors does not load torch."""
    assert loaded_by("import understudy; understudy.UnderstudyError") == []


def test_help_loads_nothing_heavy() -> None:
    """The command line answers --help without any library that takes time to load."""
    statement = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['understudy', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('understudy', run_name='__main__')"
    )
    assert loaded_by(statement) == []


def test_the_module_is_the_command() -> None:
    """`python -m understudy --help` names the commands."""
    command = [sys.executable, "-m", "understudy", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"demo", "run", "show", "collect"} <= set(done.stdout.split())


def test_loading_can_be_seen() -> None:
    """The check above would notice: a name that needs pydantic loads it."""
    assert "pydantic" in loaded_by("import understudy; understudy.Recipe")
