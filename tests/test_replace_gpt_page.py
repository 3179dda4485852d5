"""The commands of docs/replace-gpt.md run as they stand: from a CSV to a served student that an application calls."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from tests.serve_forecasts import server, write_inputs

from understudy.cli import main
from understudy.pipeline.inspect.deploy import deployment
from understudy.serving.deployment import open_deployment

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "replace-gpt.md").read_text(encoding="utf-8")
TEACHER_PORT, STUDENT_PORT = "8017", "8000"
"""Ports of the page; a test takes free ones."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


STAND_IN, COMMANDS, SHORTENED = (block.splitlines() for block in blocks("sh"))
(PROMPT,) = blocks("text")
(APPLICATION,) = blocks("python")


def free_port() -> str:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def run_here(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command of the page in this process, which has imported everything already."""
    monkeypatch.setattr(sys, "argv", shlex.split(os.path.expandvars(line)))
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


@contextlib.contextmanager
def serving(line: str) -> Iterator[str]:
    """Starts the page's last command at a free port; yields the port once the server is ready, then stops it."""
    port = free_port()
    _, *arguments = shlex.split(line)
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", *arguments, "--port", port], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        assert f"http://127.0.0.1:{port}/v1, as model my-task, gpt-4o-mini" in process.stderr.readline()
        yield port
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate()
        assert process.returncode == 0, log
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def application_prints(port: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the page's application prints."""
    capsys.readouterr()
    code = compile(APPLICATION.replace(f":{STUDENT_PORT}/", f":{port}/"), "docs/replace-gpt.md", "exec")
    exec(code, {})  # noqa: S102 - our own page
    return capsys.readouterr().out.removesuffix("\n")


def students_own_text() -> str:
    """The student's text for the application's source, without a server."""
    (source,) = re.findall(r'^source = "(.*)"$', APPLICATION, re.MULTILINE)
    assert source in Path("inputs.csv").read_text(encoding="utf-8")
    with open_deployment(deployment("runs/my-task"), device="cpu") as answering:
        return answering.answers([source])[0].text


def test_five_commands_lead_to_the_student() -> None:
    """The page has five commands, with one name for the folder of the run."""
    assert [line.split()[:2] for line in COMMANDS] == [
        ["understudy", name] for name in ("init", "check", "plan", "run", "serve")
    ]
    assert blocks("csv")[0].splitlines()[0] == "source"


@pytest.mark.trains
def test_the_commands_of_the_page_lead_to_an_answer_of_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the shortened training of the page and its stand-in: the application gets the student's own text."""
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text(PROMPT, encoding="utf-8")
    write_inputs(Path("inputs.csv"), 300)
    *before, run, serve = COMMANDS
    assert SHORTENED[0].startswith(f"{run} --set ")
    with server(0) as teacher:
        Thread(target=teacher.serve_forever, daemon=True).start()
        export = STAND_IN[1].replace(f":{TEACHER_PORT}/", f":{teacher.server_port}/")
        for name, value in (word.split("=", 1) for word in shlex.split(export)[1:]):
            monkeypatch.setenv(name, value)
        for line in (*before, SHORTENED[0]):
            run_here(line, monkeypatch)
        teacher.shutdown()

    assert "next: understudy serve runs/my-task" in capsys.readouterr().out
    with serving(serve) as port:
        printed = application_prints(port, capsys)
    assert printed == students_own_text()


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At full length and without a change but the ports, as a user pastes them; the student has learned its task."""
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text(PROMPT, encoding="utf-8")
    teacher_port, bin_folder = free_port(), tmp_path / "bin"
    bin_folder.mkdir()
    for name, words in {"python": "", "understudy": "-m understudy"}.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    start, export = (line.replace(TEACHER_PORT, teacher_port) for line in STAND_IN)
    stand_in = start.replace("tests/", f"{shlex.quote(str(ROOT))}/tests/")
    wait = "until [ -s inputs.csv ]; do kill -0 $!; done"
    script = "\n".join(["set -e", "trap 'kill $!' EXIT", stand_in, export, wait, *COMMANDS[:-1]])
    done = subprocess.run(["/bin/bash", "-c", script], check=True, stdout=subprocess.PIPE, text=True)

    assert "0 errors, 0 warnings" in done.stdout
    assert float(re.findall(r"^  BLEU +([0-9.]+)", done.stdout, re.MULTILINE)[-1]) > 15
    with serving(COMMANDS[-1]) as port:
        printed = application_prints(port, capsys)
    assert printed == students_own_text()
