import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

from understudy.cli.app import main
from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe

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
