"""The command: it starts, ends without losing a request, and refuses wrong options."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import psutil
import pytest

from understudy.cli import main
from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.record_files import record_files, stored_lines


@contextmanager
def command(run: Run, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of the command and the URL that it prints."""
    arguments = [sys.executable, "-m", "understudy", "serve", str(run.folder), "--port", "0", *options]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process, process.stderr.readline().partition(" at ")[2].partition(",")[0]
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_sigterm_under_load_loses_no_accepted_request(
    finished: Run, predictions: list[Prediction], tmp_path: Path
) -> None:
    """Eight requests wait for their batch when the signal comes; all are answered and recorded, the exit code is 0."""
    one = predictions[0]
    limits = ("--alias", "gpt-4o", "--limit", "batch_wait_ms=3000", "--keep-texts", str(tmp_path / "texts"))
    with command(finished, *limits) as (process, url), ThreadPoolExecutor(8) as pool:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        with httpx2.Client() as http:
            assert http.get(f"{url.removesuffix('/v1')}/ready", timeout=120).status_code == 200
            waiting = [pool.submit(client.completions.create, model="gpt-4o", prompt=one.source) for _ in range(8)]
            line = "understudy_requests_in_progress 8.0"
            while line not in http.get(f"{url.removesuffix('/v1')}/metrics").text and not all(
                each.done() for each in waiting
            ):
                pass
        process.send_signal(signal.SIGTERM)
        assert [each.result().choices[0].text for each in waiting] == [one.text] * 8
        _, log = process.communicate()
    assert process.returncode == 0
    *lines, last = log.splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200] * 8
    assert last == "stopped: every accepted request was answered"
    (path,) = record_files(tmp_path / "texts")
    assert [stored.is_record for stored in stored_lines(path)] == [True, *[False] * 7]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "256.0.0.1"], "cannot serve at 256.0.0.1 port 8000"),
        (["--limit", "queu=3"], "unknown limit 'queu'"),
        (["--token-variable", "NOT_SET"], "--token-variable is NOT_SET, which is not set"),
        (["--keep-days", "3"], "--keep-days is about texts that are kept; add --keep-texts DIR"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    finished: Run,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    """It names what was given and what to do."""
    monkeypatch.setattr("sys.argv", ["understudy", "serve", str(finished.folder), *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert sentence in line


@pytest.mark.slow
def test_a_killed_worker_is_replaced(finished: Run, predictions: list[Prediction]) -> None:
    """With two workers, requests are answered before, while and after one is killed; the client retries."""
    one = predictions[0]
    with command(finished, "--workers", "2") as (process, url):
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=5, timeout=120)

        def workers() -> set[int]:
            children = psutil.Process(process.pid).children()
            alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
            return {child.pid for child in alive if "spawn_main" in " ".join(child.cmdline())}

        def answer() -> str:
            return client.completions.create(model="tiny", prompt=one.source).choices[0].text

        def serving_worker() -> int:
            """The worker at the other end of the client's connection; one that starts has none."""
            answer()
            return next(
                pid
                for pid in workers()
                if any(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(pid).net_connections())
            )

        assert answer() == one.text
        assert len(workers()) == 2
        killed = serving_worker()
        os.kill(killed, signal.SIGKILL)
        while len(workers() - {killed}) < 2:
            assert answer() == one.text
        assert answer() == one.text
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
