"""Names and messages from outside are shown as they are: no markup, no escape sequence, in any encoding."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from tests.report.conftest import facts_example
from tests.report.study_facts import results_example

from understudy.api_teacher.collect import CollectResult
from understudy.api_teacher.scheduler import RequestOutcome
from understudy.cli import printing
from understudy.cli.progress_bars import LineProgress, rich_progress
from understudy.pool.pool import PoolStatistics
from understudy.pool.show import ShownRow
from understudy.records import Score
from understudy.report.facts import Facts
from understudy.report.table_facts import ResultsTable

NAMES = ["[/x]", "[bold]b[/bold]", ":smile:", "\x1b[31mred", "txt.\u202eexe", "<script>", "a\ud800", "中文é", "n" * 200]
SHOWN = ["[/x]", "[bold]b[/bold]", ":smile:", r"\x1b[31mred", r"txt.\u202eexe", "<script>", r"a\ud800"]


@pytest.fixture(params=["ascii", "utf-8", "cp1252"])
def encoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The encoding of standard output, which raises errors."""
    monkeypatch.setenv("COLUMNS", "300")
    return str(request.param)


class Terminal(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return True


@contextmanager
def standard_output(encoding: str, kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> Iterator[Callable[[], str]]:
    """Within, standard output is a stream in the encoding; yields a function that returns what was printed."""
    data = io.BytesIO()
    stream = kind(data, encoding=encoding, write_through=True)
    with redirect_stdout(stream):
        yield lambda: data.getvalue().decode(encoding)
    stream.detach()


@pytest.mark.parametrize("name", NAMES)
def test_results_print_any_name(encoding: str, name: str) -> None:
    """Labels of metrics, warnings and paths."""
    facts: Facts = facts_example()
    facts["warnings"] = [name]
    for system in facts["systems"]:
        system["scores"]["bleu"]["label"] = name
    with standard_output(encoding) as printed:
        printing.print_result(Path(name), facts)
        text = printed()

    assert "\x1b" not in text
    assert "\u202e" not in text
    if name in NAMES[: len(SHOWN)]:
        assert f"warning: {SHOWN[NAMES.index(name)]}" in text


@pytest.mark.parametrize("name", NAMES)
def test_tables_print_any_name(encoding: str, name: str) -> None:
    """Systems, metrics, signatures, tasks, methods and errors of a study."""
    with standard_output(encoding) as printed:
        printing.print_scores({name: [Score(name, 1.0, 0.5, 1.5, name, higher_is_better=False)]})
        results = cast("ResultsTable", _renamed(results_example(), {"Logits": name, "easy": name}))
        printing.print_results_table(Path("page.html"), results)
        text = printed()

    assert "\x1b" not in text
    assert "\u202e" not in text
    if name in NAMES[: len(SHOWN)]:
        assert SHOWN[NAMES.index(name)] in text


@pytest.mark.parametrize("name", NAMES)
def test_pools_and_collected_texts_print_any_text(encoding: str, name: str) -> None:
    """Ids, sources and texts of data files, and reasons that servers give."""
    statistics = cast(
        "PoolStatistics", {"texts": 1, "inputs": 1, "per_input": 1.0, "duplicates": 0.0, "unfinished": None}
    )
    row = ShownRow(name, name, name, -0.5, 1, 3, cast("Any", name), 0)
    with standard_output(encoding) as printed:
        printing.print_pool(statistics, [row])
        outcome = RequestOutcome(1, {name: 1}, {"source": name}, 0, 0.0)
        printing.print_collected(CollectResult(Path(name), outcome, 1))
        text = printed()

    assert "\x1b" not in text
    if name in NAMES[: len(SHOWN)]:
        assert text.count(SHOWN[NAMES.index(name)]) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_a_study_prints_any_name_on_a_terminal(encoding: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich's own styles are there, those of the names are not; long names are folded, not cut."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    results = cast(
        "ResultsTable", _renamed(results_example(), {"Logits": name, "easy": name, "the disk <is> full": name})
    )
    with standard_output(encoding, Terminal) as printed:
        printing.print_results_table(Path(name), results)
        text = printed()

    assert "\x1b[1m" in text
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    if name == "n" * 200:
        assert text.count("n") >= 3 * 200


def test_arrows_and_names_of_systems_are_those_of_the_page(encoding: str) -> None:
    """Systems of the run have labels; another system has the name of its file. ASCII has words for the arrow."""
    score = Score("wer", 12.0, 11.0, 13.0, "wer|n:3", higher_is_better=False)
    with standard_output(encoding) as printed:
        printing.print_scores({name: [score] for name in ("teacher", "fine_tuned", "joint_teaching", "gpt_4")})
        text = printed()

    assert all(name in text for name in ("Teacher", "Fine-tuned student", "Distilled student", "gpt_4"))
    assert ("wer\u00a0↓" if encoding == "utf-8" else "wer (lower is better)") in text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("name", NAMES)
def test_progress_shows_any_name_on_a_terminal(name: str, encoding: str) -> None:
    """Titles, notes and messages, on a narrow terminal that would cut them."""
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, encoding=encoding, write_through=True)
    console = Console(file=stream, force_terminal=True, color_system=None, width=60)
    with rich_progress(console) as progress, progress.track(name, 2, "item") as advance:
        advance(1, name)
        progress.log(name)
    text = data.getvalue().decode(encoding)

    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    if name in NAMES[: len(SHOWN)]:
        assert SHOWN[NAMES.index(name)] in text


@pytest.mark.parametrize("name", NAMES)
def test_progress_shows_any_name_in_a_log(name: str) -> None:
    """A log in ASCII has escapes."""
    data = io.BytesIO()
    progress = LineProgress(io.TextIOWrapper(data, encoding="ascii", write_through=True))
    with progress.track(name, 1, "item") as advance:
        advance(1, name)
    progress.log(name)

    assert b"\x1b" not in data.getvalue()


def test_errors_and_recipes_are_printed_in_ascii(tmp_path: Path) -> None:
    """The command line itself: an error that quotes a hostile value, and a recipe with text outside ASCII."""
    (tmp_path / "r.yaml").write_text("name: '[/x]\\u001b[31m\\u202e'\n", "utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "understudy", "show"]
    refused = subprocess.run([*command, tmp_path / "r.yaml"], capture_output=True, check=False, env=environment)
    override = ["--set", "task.prompt=中文 {source}"]
    shown = subprocess.run([*command, *override], capture_output=True, check=False, env=environment)

    assert refused.returncode == 1
    assert refused.stderr.startswith(b"understudy: ")
    assert b"Traceback" not in refused.stderr + shown.stderr
    assert b"\x1b" not in refused.stderr
    assert shown.returncode == 0
    assert "中文" in shown.stdout.decode()  # click writes UTF-8 where the encoding is ASCII


def _renamed(value: object, names: dict[str, str]) -> object:
    """The same data with some texts replaced, in keys and values."""
    match value:
        case str():
            return names.get(value, value)
        case dict():
            return {_renamed(key, names): _renamed(item, names) for key, item in value.items()}
        case list():
            return [_renamed(item, names) for item in value]
        case _:
            return value
