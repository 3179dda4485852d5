"""The public names, and how little it costs to ask for them."""

import subprocess
import sys
from importlib import import_module

import pytest

import understudy

HEAVY = ("torch", "transformers", "ctranslate2", "pyarrow", "pydantic", "numpy", "matplotlib")


def loaded_by(statement: str) -> list[str]:
    """The heavy libraries a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint('\\nheavy:', *(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_these_are_the_public_names() -> None:
    """A name is added or taken away here first: users build on each of them."""
    assert understudy.__all__ == [
        "OpenedRun",
        "PseudoTargetPool",
        "Recipe",
        "Run",
        "UnderstudyError",
        "__version__",
        "check_recipe",
        "cross_entropy",
        "forward_kl",
        "open_run",
        "read_recipe",
        "read_study",
        "run",
        "run_study",
    ]
    assert dir(understudy) == understudy.__all__


@pytest.mark.parametrize("name", sorted(understudy._HOMES))
def test_a_public_name_is_the_thing_in_its_room(name: str) -> None:
    """The door hands out the very object the room defines."""
    assert getattr(understudy, name) is getattr(import_module(understudy._HOMES[name]), name)


def test_every_public_name_has_a_home() -> None:
    """All names but the version are found through the table."""
    assert sorted([*understudy._HOMES, "__version__"]) == sorted(understudy.__all__)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """The error is the one Python expects of a module."""
    with pytest.raises(AttributeError, match=r"no attribute 'distill'.*read_recipe, read_study, run"):
        understudy.distill  # noqa: B018 - asking is the test


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Whoever only wants the errors does not wait for torch."""
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
    assert {"demo", "run", "show"} <= set(done.stdout.split())


def test_loading_can_be_seen() -> None:
    """The check above would notice: a name that needs pydantic brings it."""
    assert "pydantic" in loaded_by("import understudy; understudy.Recipe")
