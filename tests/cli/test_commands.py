import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TextColumn

from understudy.cli.app import main
from understudy.cli.bars import Bars, Lines, progress_for
from understudy.config.read import check_recipe

Command = Callable[..., tuple[int, str, str]]
HEAVY = ("torch", "transformers", "pydantic", "pyarrow", "ctranslate2", "matplotlib")


def test_help_imports_nothing_heavy() -> None:
    """`understudy --help` answers before any library that takes time is touched."""
    program = "import sys, runpy; sys.argv = ['understudy', '--help']\n"
    program += "try: runpy.run_module('understudy', run_name='__main__')\nexcept SystemExit: pass\n"
    program += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "Turn an expensive text generator" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_loads_no_network_library() -> None:
    """What a recipe or a method means is told in a second."""
    loaded = (
        "import sys, understudy.cli.words, understudy.config.read; print(*{'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_control_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Typer makes an exit of it before anybody else hears of it."""
    stopped = typer.Typer()

    @stopped.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.cli.app.app", lambda: stopped([]))
    with pytest.raises(SystemExit) as left:
        main()

    assert left.value.code == 130
    assert capsys.readouterr().err == "understudy: stopped; give the same command again to go on\n"


def test_show_prints_a_recipe_that_reads_back(understudy: Command, project: Path) -> None:
    """Every default filled in, overrides applied."""
    code, printed, _ = understudy("show", project / "recipe.yaml", "--set", "training.epochs=3")
    recipe = yaml.safe_load(printed)

    assert code == 0
    assert recipe["training"]["epochs"] == 3
    assert recipe["distil"]["targets"] == {"gold": 0.1, "teacher": 0.45, "student": 0.45}
    assert check_recipe(recipe).training.epochs == 3


def test_show_without_a_recipe_prints_the_demo(understudy: Command) -> None:
    """So a newcomer sees one."""
    _, printed, _ = understudy("show")

    assert yaml.safe_load(printed)["name"] == "demo"


def test_a_learning_rate_without_a_dot_is_a_number(understudy: Command, project: Path) -> None:
    """YAML reads 1e-4 as a string; here it simply works."""
    _, printed, _ = understudy("show", project / "recipe.yaml", "--set", "training.learning_rate=1e-4")

    assert yaml.safe_load(printed)["training"]["learning_rate"] == 1e-4


def test_show_explains_a_method(understudy: Command) -> None:
    """Meaning, source and settings."""
    _, printed, _ = understudy("show", "--method", "sequence_level")

    assert "Kim & Rush 2016" in printed
    assert "cross_entropy" in printed


def test_an_unknown_method_is_answered_with_the_known(understudy: Command) -> None:
    """And the nearest."""
    code, _, complained = understudy("show", "--method", "joint_teching")

    assert code == 1
    assert "did you mean 'joint_teaching'?" in complained


def test_a_log_is_not_flooded() -> None:
    """Without a terminal, a piece of work of a thousand steps is one line."""
    log = io.StringIO()
    with progress_for(log, quiet=False) as progress, progress.work("teacher learns gold", 1000, "step") as advance:
        for _ in range(1000):
            advance(1, "loss 1.0")

    assert log.getvalue().count("\n") == 1
    assert "teacher learns gold: done" in log.getvalue()


def test_on_a_terminal_a_finished_bar_makes_room_for_the_next() -> None:
    """Forty vocab_size of work are forty lines above the one bar; kept as bars, the oldest would fill the screen."""
    screen = io.StringIO()
    with RichProgress(TextColumn("{task.description} {task.fields[note]}"), console=Console(file=screen)) as drawn:
        bars = Bars(drawn)
        for number in range(40):
            with bars.work(f"work {number}", 2, "step") as advance:
                advance(1, "loss 1.0")
                assert [task.description for task in drawn.tasks] == [f"work {number}"]

    assert len(re.findall(r"work \d+: done in [\d.]+ s loss 1\.0", screen.getvalue())) == 40


def test_quiet_says_nothing() -> None:
    """Not even that work is done."""
    log = io.StringIO()
    with progress_for(log, quiet=True) as progress, progress.work("teacher learns gold", 2, "step") as advance:
        advance(2)

    assert not log.getvalue()


def test_the_rate_counts_only_what_was_made_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed piece of work that finds half of itself done tells the time of the other half."""
    clock = iter([0.0, 0.5, 100.0, 100.0, 100.0])
    monkeypatch.setattr("understudy.cli.bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with Lines(log).work("teacher writes", 100, "input") as advance:
        advance(50)
        advance(25)

    assert "75%, 0.25 input/s, 100 s left" in log.getvalue()
