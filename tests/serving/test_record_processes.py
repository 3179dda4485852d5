"""The command record as a process: it ends without losing a request, and a killed one leaves a readable folder."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from tests.cli.conftest import Command
from tests.cli.conftest import understudy as understudy  # noqa: PLC0414 - the fixture
from tests.streaming_upstream import stand_in

from understudy.serving.record_files import record_files, stored_lines


@contextmanager
def command(upstream: str, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of the command and the URL that it prints."""
    given = ["--upstream", upstream, "--keep-texts", str(folder), "--port", "0", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", "record", *given], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        yield process, process.stderr.readline().split(" ")[0]
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def refuses(url: str) -> bool:
    """Whether no connection is accepted any more."""
    address = urlsplit(url)
    try:
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=5):
            return False
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was waiting when the server stopped to listen
        return True


def test_sigterm_finishes_what_was_accepted(understudy: Command, tmp_path: Path) -> None:
    """A stream that the upstream holds back is passed on and recorded; then `records` counts and deletes it."""
    folder = tmp_path / "texts"
    (tmp_path / "hook.py").write_text("def mask(text): return text.replace('Ada', 'NAME').replace('ADA', 'NAME')\n")
    redact = ("--redact", f"{tmp_path / 'hook.py'}:mask", "--allow-code", "--keep-days", "2")
    with stand_in() as upstream, command(upstream.url, folder, *redact) as (process, url):
        upstream.released.clear()
        with openai.OpenAI(base_url=url, api_key="sk-own", max_retries=0) as client, ThreadPoolExecutor(1) as pool:
            create: Any = client.chat.completions.create
            stream = create(model="large", messages=[{"role": "user", "content": "I am Ada"}], stream=True)
            pieces = iter(stream)
            texts = [next(pieces).choices[0].delta.content]
            process.send_signal(signal.SIGTERM)
            rest = pool.submit(lambda: [piece.choices[0].delta.content for piece in pieces])
            while not refuses(url):
                pass
            upstream.released.set()
            assert [*texts, *rest.result()] == ["I", " AM", " ADA", None]
        _, log = process.communicate()
    assert process.returncode == 0
    access, last = log.splitlines()
    assert json.loads(access)["status"] == 200
    assert last == "stopped: every accepted request was passed on and recorded"

    (path,) = record_files(folder)
    assert not any(word in path.read_text() + log for word in ("I am Ada", "I AM ADA", "sk-own"))
    day = path.name[8:18]
    code, out, _ = understudy("records", "ls", folder)
    assert (code, out.splitlines()[0]) == (0, f"{day}: 1 by the teacher")
    assert out.splitlines()[1].startswith("1 records, ")
    code, _, err = understudy("records", "delete", folder, "chatcmpl-I")
    assert (code, "no record has the id 'chatcmpl-I'; nothing was deleted" in err) == (1, True)
    code, out, _ = understudy("records", "delete", folder, "chatcmpl-I-am-Ada")
    assert (code, out) == (0, f"deleted 1 records and 0 repetitions of them from {folder}\n")
    assert list(folder.iterdir()) == []


def test_sigkill_leaves_a_readable_folder(tmp_path: Path) -> None:
    """Whatever was written before is whole; at most the last line is truncated."""
    folder = tmp_path / "texts"
    with stand_in() as upstream:
        with (
            command(upstream.url, folder) as (process, url),
            ThreadPoolExecutor(4) as pool,
            openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        ):
            create = client.completions.create
            first = create(model="large", prompt="first")
            while not any(path.stat().st_size for path in folder.iterdir()):
                pass
            long = "long " * 2000
            results = [pool.submit(create, model="large", prompt=f"text {i} {long}") for i in range(40)]
            results[10].result()
            process.send_signal(signal.SIGKILL)
            process.wait()
            answered = sum(result.exception() is None for result in results)
        (killed,) = record_files(folder)
        lines = list(stored_lines(killed))
        assert all(line.values is not None for line in lines[:-1])
        whole = [line.values for line in lines if line.values is not None]
        assert whole[0]["id"] == first.id
        assert len({str(values["id"]) for values in whole}) == len(whole) <= 1 + answered + 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--upstream", "api.openai.com"], "--upstream is 'api.openai.com'; give the base URL"),
        (["--limit", "body=3"], "unknown limit 'body'"),
        (["--redact", "json:dumps"], "only with --allow-code"),
        (["--host", "256.0.0.1"], "cannot serve at 256.0.0.1 port 8001"),
    ],
)
def test_a_wrong_option_is_one_sentence(understudy: Command, tmp_path: Path, options: list[str], sentence: str) -> None:
    """It names what was given and what to do."""
    given = ["--upstream", "http://127.0.0.1:9/v1", "--keep-texts", str(tmp_path / "texts"), *options]
    code, _, err = understudy("record", *given)
    assert (code, len(err.splitlines()), sentence in err) == (1, 1, True)
