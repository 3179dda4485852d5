import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
import typer
import yaml
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TextColumn

from understudy.cli.app import main
from understudy.cli.progress_bars import BarProgress, LineProgress, progress_for, rich_progress
from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe
from understudy.errors import ConfigError

Command = Callable[..., tuple[int, str, str]]
HEAVY = ("torch", "transformers", "pydantic", "pyarrow", "ctranslate2", "matplotlib")


def test_help_imports_nothing_heavy() -> None:
    """`understudy --help` prints before any library that takes time to load is imported."""
    program = "import sys, runpy; sys.argv = ['understudy', '--help']\n"
    program += "try: runpy.run_module('understudy', run_name='__main__')\nexcept SystemExit: pass\n"
    program += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "Turn an expensive text generator" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_imports_no_model_library() -> None:
    """Recipes and methods are shown within a second."""
    loaded = (
        "import sys, understudy.cli.printing, understudy.config.read\n"
        "print(*{'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_control_c_explains_how_to_resume(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Typer turns the interruption into an exit with code 130."""
    interrupted_app = typer.Typer()

    @interrupted_app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.cli.app.app", lambda: interrupted_app([]))
    with pytest.raises(SystemExit) as stop:
        main()

    assert stop.value.code == 130
    message = capsys.readouterr().err
    assert message.startswith("understudy: interrupted")
    assert "same command again to resume" in message


def test_show_prints_a_recipe_that_reads_back(understudy: Command, project: Path) -> None:
    """The output has every default filled in and overrides applied."""
    code, printed, _ = understudy("show", project / "recipe.yaml", "--set", "training.epochs=3")
    recipe = yaml.safe_load(printed)

    assert code == 0
    assert recipe["training"]["epochs"] == 3
    assert recipe["distil"]["targets"] == {"gold": 0.1, "teacher": 0.45, "student": 0.45}
    assert check_recipe(recipe).training.epochs == 3


def test_show_without_a_recipe_prints_the_demo(understudy: Command) -> None:
    """New users see a complete recipe."""
    _, printed, _ = understudy("show")

    assert yaml.safe_load(printed)["name"] == "demo"


def test_a_learning_rate_without_a_dot_is_a_number(understudy: Command, project: Path) -> None:
    """YAML parses 1e-4 as a string; recipes accept it."""
    _, printed, _ = understudy("show", project / "recipe.yaml", "--set", "training.learning_rate=1e-4")

    assert yaml.safe_load(printed)["training"]["learning_rate"] == 1e-4


def test_a_method_is_explained(understudy: Command) -> None:
    """The output has meaning, source and settings."""
    _, printed, _ = understudy("methods", "sequence_level")

    assert "Kim & Rush 2016" in printed
    assert "cross_entropy" in printed


def test_all_methods_are_listed(understudy: Command) -> None:
    """A line for each method with its meaning."""
    code, printed, _ = understudy("methods")

    assert code == 0
    assert [line.split()[0] for line in printed.splitlines()] == list(PRESETS)
    assert all(preset.meaning in printed for preset in PRESETS.values())


def test_an_unknown_method_is_answered_with_the_nearest(understudy: Command) -> None:
    """The message suggests the nearest known method."""
    code, _, err = understudy("methods", "joint_teching")

    assert code == 1
    assert "did you mean 'joint_teaching'?" in err


def test_a_log_is_not_flooded() -> None:
    """Without a terminal, a piece of work of 1,000 steps prints one line."""
    log = io.StringIO()
    with progress_for(log, quiet=False) as progress, progress.track("fine-tune teacher", 1000, "step") as advance:
        for _ in range(1000):
            advance(1, "loss 1.0")

    assert log.getvalue().count("\n") == 1
    assert "fine-tune teacher: done" in log.getvalue()


def test_lines_of_a_log_have_time_stamps() -> None:
    """A day later the log still says when something happened."""
    log = io.StringIO()
    with progress_for(log, quiet=False) as progress:
        progress.log("compute scores")

    stamp, message = log.getvalue().rstrip().split(" ", 1)
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert message == "compute scores"


def test_silent_work_is_named_in_a_log() -> None:
    """Loading a network, or a long step, reports nothing: a line says what is under way, and since when."""

    class Log(io.StringIO):
        written = Event()

        def write(self, text: str) -> int:
            size = super().write(text)
            self.written.set()
            return size

    log = Log()
    with LineProgress(log).kept_alive(every_s=0.01) as progress, progress.track("fine-tune teacher", 3, "step"):
        assert log.written.wait(60)

    first = log.getvalue().splitlines()[0]
    assert first.partition(" ")[2].startswith("fine-tune teacher: under way, no report for ")


def test_a_json_log_has_an_object_per_line() -> None:
    """With the message, the title and the seconds as fields, whatever signs the names contain."""
    log = io.StringIO()
    with progress_for(log, quiet=False, log_format="json") as progress, progress.track('a "b"\n', 2, "step") as advance:
        advance(2)
        progress.log("c")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]

    assert lines[0]["message"] == "c"
    assert lines[1]["title"] == 'a "b"\n'
    assert lines[1]["seconds"] >= 0


def test_an_unknown_log_format_is_refused() -> None:
    """The message has the known ones."""
    with pytest.raises(ConfigError, match="unknown log format 'xml'; known: json, text"):
        progress_for(io.StringIO(), quiet=False, log_format="xml")


def test_a_finished_bar_is_replaced_by_a_line() -> None:
    """Finished work is a line above the current bar; kept as bars, the oldest would fill the screen."""
    screen = io.StringIO()
    with RichProgress(TextColumn("{task.description} {task.fields[note]}"), console=Console(file=screen)) as drawn:
        bars = BarProgress(drawn)
        for number in range(40):
            with bars.track(f"work {number}", 2, "step") as advance:
                advance(1, "loss 1.0")
                assert [task.description for task in drawn.tasks] == [f"work {number}"]

    assert len(re.findall(r"work \d+: done in [\d.]+ s loss 1\.0", screen.getvalue())) == 40


def test_quiet_prints_nothing() -> None:
    """The end of work is not printed either."""
    log = io.StringIO()
    with progress_for(log, quiet=True) as progress, progress.track("fine-tune teacher", 2, "step") as advance:
        advance(2)

    assert not log.getvalue()


def test_the_rate_excludes_cached_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed work that finds half of its units cached estimates the time of the other half."""
    clock = iter([0.0, 0.5, 100.0, 100.0, 100.0])
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with LineProgress(log).track("generate texts", 100, "input") as advance:
        advance(50)
        advance(25)

    assert "75%, 0.25 input/s, 100 s left" in log.getvalue()


def test_work_of_unknown_length_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the count and the rate, without a share and a remaining time; no two lines within a few seconds."""
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 20.0])
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with LineProgress(log).track("read unlabeled", None, "record") as advance:
        for amount in (1000, 2000, 500, 500):
            advance(amount)

    lines = [line.partition(" ")[2] for line in log.getvalue().splitlines()]
    assert lines == [
        "read unlabeled: 3000 record, 300.00 record/s",
        "read unlabeled: 4000 record, 200.00 record/s",
        "read unlabeled: done in 20.0 s",
    ]


def test_a_line_comes_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the work reports every two seconds."""
    now = [0.0]
    monkeypatch.setattr("understudy.cli.progress_bars.time.monotonic", lambda: now[0])
    times = [0.0]

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            times.append(now[0])
            return len(text)

    with LineProgress(Log()).track("tokenize the sources", 100, "input") as advance:
        for _ in range(50):
            now[0] += 2
            advance(2)

    assert max(later - earlier for earlier, later in pairwise(times)) <= 10
    assert len(set(times)) > 5


def test_brackets_in_titles_are_not_markup() -> None:
    """Names that users give to systems and tasks are shown as they are."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=120)
    with rich_progress(console) as progress, progress.track("distil [bold]mine[/]", 2, "step") as advance:
        advance(1, "loss [red]")
        progress.log("task [dim]")

    assert "distil [bold]mine[/]: done in " in screen.getvalue()
    assert "task [dim]" in screen.getvalue()


def test_rich_progress_prints_lines_where_bars_cannot_be_drawn() -> None:
    """This is the case for a file or a pipe."""
    log = io.StringIO()
    with rich_progress(Console(file=log)) as progress:
        assert isinstance(progress, LineProgress)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nope.yaml"), "no recipe at nope.yaml"),
        (("run", "recipe.yaml", "--set", "task.files.test=nope.jsonl"), "nope.jsonl: no such file"),
        (("run", "recipe.yaml", "--set", "task.metrics=[blue]"), "did you mean 'bleu'"),
        (("run", "recipe.yaml", "--set", "engine=vlm"), "unknown engine 'vlm'; known: auto, ctranslate2, hf"),
        (("run", "recipe.yaml", "--set", "trainig.epochs=3"), "did you mean 'training'"),
        (("check", "recipe.yaml", "--set", "distil.method=joint"), "unknown method 'joint'"),
        (("report", "nope"), "nope holds no finished run"),
        (("evaluate", "nope"), "nope holds no finished run"),
        (("pool", "show", "nope"), "nope holds no finished run"),
        (("study", "nope.yaml"), "no study at nope.yaml"),
        (("methods", "joint"), "unknown method 'joint'"),
        (("ask", "nope.jsonl", "--endpoint", "nope.yaml"), "the command 'ask' was renamed; use understudy collect"),
        (("collect", "nope.jsonl", "--endpoint", "nope.yaml"), "no endpoint at nope.yaml"),
    ],
)
def test_what_does_not_exist_is_refused_before_torch_is_loaded(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """Loading it takes seconds of processor time, in which the user waits for the news of a wrong letter."""
    (tmp_path / "data.jsonl").write_text('{"source": "a", "target": "b c d e"}\n')
    files = dict.fromkeys(("labeled", "dev", "test"), "data.jsonl")
    recipe = {"task": {"files": files}, "teacher": {"model": "a"}, "student": {"model": "b"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code = (
        "import sys\nfrom understudy.cli.app import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout.splitlines()[-1] == "False"
