"""Collecting with the real client from a local server with faults, and with a killed process."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.api_teacher.server import RequestLog, serve

from understudy.api_teacher.collect import CollectResult, collect, refuse_unanswered
from understudy.config.endpoint import Endpoint
from understudy.config.read import read_endpoint
from understudy.errors import ConfigError, DataError, GenerationError, StoreError
from understudy.records import Example
from understudy.store.locks import hold

KEY = "sk-a-secret-nobody-may-read"
PRICE = {"input": 1000.0, "output": 1000.0}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)


@contextmanager
def serving(log: RequestLog) -> Iterator[str]:
    """A server; yields its address."""
    server = serve(log)
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def write_inputs(folder: Path, count: int) -> Path:
    """A file of inputs."""
    path = folder / "inputs.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "source": f"question number {n}"}) + "\n" for n in range(count)))
    return path


def settings(address: str, **more: object) -> dict[str, Any]:
    """Endpoint settings, as in a YAML file."""
    server = {"model": "m", "base_url": address, "key": "SOME_KEY", "timeout_s": 2.0, "concurrency": 16, "attempts": 8}
    return {**server, "max_tokens": 8, "top_logprobs": 1, **more}


def collect_quickly(
    inputs: Path, endpoint: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> CollectResult:
    """Collects without pauses between attempts."""
    monkeypatch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)
    return collect(inputs, Endpoint.model_validate(endpoint), out=out)


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_thousand_requests_with_faults_end_answered_or_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of all requests fails in one of ten ways; no response that arrived is requested again."""
    log = RequestLog(share=0.2)
    with serving(log) as address:
        done = collect_quickly(
            write_inputs(tmp_path, 2000), settings(address, price=PRICE), tmp_path / "out", monkeypatch
        )
    answered, failed = rows(done.folder / "responses.jsonl"), rows(done.folder / "failed.jsonl")

    assert len(answered) + len(failed) == 2000
    assert {row["id"] for row in answered} | {row["id"] for row in failed} == {f"q{n}" for n in range(2000)}
    assert all(row["targets"] == [row["source"].upper()] for row in answered)
    assert {row["reason"] for row in failed} <= {"refusal", "empty", "filtered by the server", "timeout"}
    assert len(failed) == sum(done.outcome.rejected.values()) + len(done.outcome.failed) > 50
    assert sum(log.requests.values()) > 2100
    assert sum(tokens_in + tokens_out for _, tokens_in, tokens_out in log.billed) / 1000 <= done.outcome.spent
    requests = sum(log.requests.values())
    with serving(log):
        collect_quickly(tmp_path / "inputs.jsonl", settings(address, price=PRICE), tmp_path / "out", monkeypatch)
    assert sum(log.requests.values()) == requests


def test_the_budget_covers_what_the_server_bills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests whose responses were lost are billed too; all together stay within the budget."""
    log = RequestLog(share=0.4)
    with serving(log) as address:
        endpoint = settings(address, price=PRICE, budget=3.0)
        done = collect_quickly(write_inputs(tmp_path, 400), endpoint, tmp_path / "out", monkeypatch)

    assert done.outcome.over_budget > 0
    assert sum(tokens_in + tokens_out for _, tokens_in, tokens_out in log.billed) / 1000 <= 3.0


def test_a_killed_command_resumes_from_its_journal(tmp_path: Path) -> None:
    """After SIGKILL, the same command requests at most what was in flight once more."""
    inputs, file = write_inputs(tmp_path, 300), tmp_path / "endpoint.yaml"
    command = [
        sys.executable,
        "-m",
        "understudy",
        "collect",
        str(inputs),
        "--endpoint",
        str(file),
        "--out",
        str(tmp_path / "out"),
    ]

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, env={**os.environ, "SOME_KEY": KEY}, stderr=subprocess.DEVNULL)

    running: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        running[0].kill()

    log = RequestLog(share=0.0, when=(120, kill))
    with serving(log) as address:
        file.write_text(yaml.safe_dump(settings(address, concurrency=4, timeout_s=20)))
        running.append(start())
        assert running[0].wait() == -signal.SIGKILL
        assert start().wait() == 0

    billed = Counter(prompt for prompt, _, _ in log.billed)
    assert len(billed) == 300
    assert sum(billed.values()) <= 300 + 4
    assert len(rows(tmp_path / "out" / "responses.jsonl")) == 300


def test_a_source_is_identified_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ids, in another order, with a new line: old responses are kept, and only the new source is requested."""
    inputs = tmp_path / "inputs.jsonl"
    with serving(RequestLog(share=0.0)) as address:
        inputs.write_text('{"source": "apple"}\n{"source": "zebra"}\n')
        collect_quickly(inputs, settings(address), tmp_path / "out", monkeypatch)
    log = RequestLog(share=0.0)
    with serving(log) as address:
        inputs.write_text('{"source": "bear"}\n{"source": "zebra"}\n{"source": "apple"}\n')
        # The journal belongs to the address of the first server; make it that of the second.
        journal = tmp_path / "out" / "journal.jsonl"
        found, *rest = journal.read_text().split("\n")
        moved = json.loads(found)
        moved["fingerprint"]["base_url"] = address
        journal.write_text("\n".join([json.dumps(moved), *rest]))
        done = collect_quickly(inputs, settings(address), tmp_path / "out", monkeypatch)

    assert log.requests == {"bear": 1}
    found_rows = {row["source"]: row["targets"] for row in rows(done.folder / "responses.jsonl")}
    assert found_rows == {"bear": ["BEAR"], "zebra": ["ZEBRA"], "apple": ["APPLE"]}


def test_another_answer_pattern_needs_no_new_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored responses that a wrong pattern rejected are parsed anew."""
    log = RequestLog(share=0.0)
    with serving(log) as address:
        inputs = write_inputs(tmp_path, 5)
        wrong = collect_quickly(inputs, settings(address, answer="Result: (.+)"), tmp_path / "out", monkeypatch)
        right = collect_quickly(inputs, settings(address, answer="QUESTION (.+)"), tmp_path / "out", monkeypatch)

    assert (wrong.texts, right.texts) == (0, 5)
    assert sum(log.requests.values()) == 5
    assert rows(tmp_path / "out" / "responses.jsonl")[0]["targets"] == ["NUMBER 0"]


def test_examples_in_memory_are_collected_as_those_of_a_file(tmp_path: Path) -> None:
    """Repeated sources are requested once, under their first id; paths may be strings."""
    log = RequestLog(share=0.0)
    with serving(log) as address:
        endpoint = Endpoint.model_validate(settings(address))
        examples = [Example("1", "apple"), Example("2", "bear"), Example("3", "apple")]
        done = collect(examples, endpoint, out=str(tmp_path / "out"))
        (tmp_path / "inputs.jsonl").write_text('{"source": "apple"}\n{"source": "bear"}\n')
        again = collect(str(tmp_path / "inputs.jsonl"), endpoint, out=tmp_path / "out")

    assert rows(done.folder / "responses.jsonl")[0].keys() == {"id", "source", "targets"}
    assert (done.outcome.answered, done.texts) == (again.outcome.answered, again.texts) == (2, 2)
    assert log.requests == {"apple": 1, "bear": 1}


@pytest.mark.parametrize(
    ("examples", "message"),
    [([], "at least one input.*empty"), ([Example("1", "a"), Example("1", "b")], "'1'.*make the ids.*unique")],
)
def test_examples_that_cannot_be_collected_are_refused(examples: list[Example], message: str, tmp_path: Path) -> None:
    """Results are reported by id, so ids must be unique; nothing is requested."""
    with pytest.raises(DataError, match=message):
        collect(examples, Endpoint(model="m"), out=tmp_path / "out")


def test_two_processes_cannot_collect_in_one_folder(tmp_path: Path) -> None:
    """Both would request the same inputs; the message names the file and the option for another folder."""
    held = hold(tmp_path / ".lock", wait=False, making=tmp_path / "journal.jsonl")
    with held, pytest.raises(StoreError, match=r"another process .*journal\.jsonl .*--out"):
        collect([Example("1", "a")], Endpoint(model="m"), out=tmp_path)


def test_unusable_responses_are_refused_with_the_amount_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends with an error that names the settings to check."""
    with serving(RequestLog(share=0.0)) as address:
        endpoint = settings(address, answer="Result: (.+)", price=PRICE)
        done = collect_quickly(write_inputs(tmp_path, 1), endpoint, tmp_path / "out", monkeypatch)

    with pytest.raises(GenerationError, match=r"no input has a usable text.*0\.0060 is spent.*`answer`.*max_tokens"):
        refuse_unanswered(done, Endpoint.model_validate(endpoint))


def test_the_key_is_never_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent to the server and written to no file."""
    log = RequestLog(share=0.3)
    with serving(log) as address:
        collect_quickly(write_inputs(tmp_path, 40), settings(address), tmp_path / "out", monkeypatch)

    assert log.keys == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_missing_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the environment variable."""
    monkeypatch.delenv("SOME_KEY")

    with pytest.raises(GenerationError, match=r"SOME_KEY.*not set"):
        collect_quickly(write_inputs(tmp_path, 1), settings("http://127.0.0.1:9/v1"), tmp_path / "out", monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 5}, r"endpoint\.yaml .*\n.*budget is 5\.0.*price\.input"),
        ({"prompt": "hello"}, r"endpoint\.yaml .*\n.*prompt is 'hello'.*source"),
        ({"modle": "x"}, r"modle: unknown key; did you mean 'model'\?"),
        ({"answer": "("}, r"answer: .*'\('.*regular expression"),
        ({"price": {"input": -1, "output": 1}}, r"price\.input: must be 0\.0 to"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    """The message names the file and the setting; no request is sent."""
    path = tmp_path / "endpoint.yaml"
    path.write_text(yaml.safe_dump({"model": "m", **changes}))

    with pytest.raises(ConfigError, match=message):
        read_endpoint(path)


def test_rows_keep_their_order_and_columns(tmp_path: Path) -> None:
    """Every row of the file is in the result, repeated sources too; our key differs from the file's own."""
    inputs = tmp_path / "inputs.jsonl"
    given: list[dict[str, Any]] = [
        {"id": "b", "source": "zebra", "target": "gold", "note": 1},
        {"id": "a", "source": "apple", "target": "gold 2", "note": None},
        {"id": "c", "source": "zebra", "target": "gold 3", "note": [2]},
    ]
    inputs.write_text("".join(json.dumps(row) + "\n" for row in given))
    with serving(RequestLog(share=0.0)) as address:
        done = collect(inputs, Endpoint.model_validate(settings(address)), out=tmp_path / "out")

    assert rows(done.folder / "responses.jsonl") == [
        {**row, "api_targets": [str(row["source"]).upper()]} for row in given
    ]
