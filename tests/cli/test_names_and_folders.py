"""Names and folders that the command line checks before anything else, and what it keeps libraries from printing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from understudy.config.decoding import ENGINE_NAMES
from understudy.generation import ENGINES


def test_engines_are_those_that_a_recipe_may_name() -> None:
    """The names are checked before the engines are loaded."""
    assert ("auto", *ENGINES) == ENGINE_NAMES


@pytest.mark.parametrize("words", [("plan", "recipe.yaml"), ("store", "ls")])
def test_an_empty_folder_of_runs_is_refused(understudy: Command, words: tuple[str, ...]) -> None:
    """A variable that is not set would otherwise be the current folder."""
    code, _, err = understudy(*words, "--out", "")
    assert code == 2
    assert "--out" in err
    assert "empty" in err


def test_figures_without_a_cache_folder_print_nothing(tmp_path: Path) -> None:
    """Matplotlib then uses a temporary folder, which changes no figure."""
    (tmp_path / "file").touch()
    code = (
        "import sys\nfrom understudy.cli.app import main\nsys.argv = ['understudy', '--version']\ntry:\n    main()\n"
        "except SystemExit:\n    import matplotlib.font_manager"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "no")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)

    assert (done.returncode, done.stderr) == (0, "")
