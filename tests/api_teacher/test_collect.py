"""A real client, a real server process's faults, and a real kill."""

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
from tests.api_teacher.server import Book, serve

from understudy.api_teacher.collect import CollectResult, ask
from understudy.config.endpoint import Endpoint
from understudy.config.read import read_endpoint
from understudy.errors import ConfigError, GenerationError

KEY = "sk-a-secret-nobody-may-read"
PRICE = {"input": 1000.0, "output": 1000.0}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)


@contextmanager
def serving(book: Book) -> Iterator[str]:
    """The address of a server."""
    server = serve(book)
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def questions(folder: Path, count: int) -> Path:
    """A file of inputs."""
    path = folder / "inputs.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "source": f"question number {n}"}) + "\n" for n in range(count)))
    return path


def settings(address: str, **more: object) -> dict[str, Any]:
    """Patience for a second or two."""
    asked = {"model": "m", "base_url": address, "key": "SOME_KEY", "timeout_s": 2.0, "concurrency": 16, "attempts": 8}
    return {**asked, "max_tokens": 8, "top_logprobs": 1, **more}


def ask_quickly(inputs: Path, asked: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch) -> CollectResult:
    """Asks without the pauses between attempts."""
    monkeypatch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)
    return ask(inputs, Endpoint.model_validate(asked), out=out)


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_thousand_requests_with_faults_end_answered_or_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of all requests fails in one of ten ways; no answer that arrived is bought twice."""
    book = Book(share=0.2)
    with serving(book) as address:
        done = ask_quickly(questions(tmp_path, 2000), settings(address, price=PRICE), tmp_path / "out", monkeypatch)
    answered, failed = rows(done.folder / "answers.jsonl"), rows(done.folder / "failed.jsonl")

    assert len(answered) + len(failed) == 2000
    assert {row["id"] for row in answered} | {row["id"] for row in failed} == {f"q{n}" for n in range(2000)}
    assert all(row["targets"] == [row["source"].upper()] for row in answered)
    assert {row["reason"] for row in failed} <= {"a refusal", "empty", "filtered by the server", "no answer in time"}
    assert len(failed) == sum(done.outcome.rejected.values()) + len(done.outcome.failed) > 50
    assert sum(book.asked.values()) > 2100
    assert sum(tokens_in + tokens_out for _, tokens_in, tokens_out in book.billed) / 1000 <= done.outcome.spent
    asked = sum(book.asked.values())
    with serving(book):
        ask_quickly(tmp_path / "inputs.jsonl", settings(address, price=PRICE), tmp_path / "out", monkeypatch)
    assert sum(book.asked.values()) == asked


def test_the_budget_holds_on_the_servers_own_bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was lost on the way: what the server has billed is at most the budget."""
    book = Book(share=0.4)
    with serving(book) as address:
        asked = settings(address, price=PRICE, budget=3.0)
        done = ask_quickly(questions(tmp_path, 400), asked, tmp_path / "out", monkeypatch)

    assert done.outcome.unasked > 0
    assert sum(tokens_in + tokens_out for _, tokens_in, tokens_out in book.billed) / 1000 <= 3.0


def test_a_killed_asking_pays_for_nothing_twice(tmp_path: Path) -> None:
    """SIGKILL in the midst, and the same command again: at most what was under way is asked once more."""
    inputs, file = questions(tmp_path, 300), tmp_path / "endpoint.yaml"
    command = [
        sys.executable,
        "-m",
        "understudy",
        "ask",
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

    book = Book(share=0.0, when=(120, kill))
    with serving(book) as address:
        file.write_text(yaml.safe_dump(settings(address, concurrency=4, timeout_s=20)))
        running.append(start())
        assert running[0].wait() == -signal.SIGKILL
        assert start().wait() == 0

    bought = Counter(question for question, _, _ in book.billed)
    assert len(bought) == 300
    assert sum(bought.values()) <= 300 + 4
    assert len(rows(tmp_path / "out" / "answers.jsonl")) == 300


def test_a_source_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ids, in another order, with a line more: each keeps its own answer, and only the new one is asked."""
    inputs = tmp_path / "inputs.jsonl"
    with serving(Book(share=0.0)) as address:
        inputs.write_text('{"source": "apple"}\n{"source": "zebra"}\n')
        ask_quickly(inputs, settings(address), tmp_path / "out", monkeypatch)
    book = Book(share=0.0)
    with serving(book) as address:
        inputs.write_text('{"source": "bear"}\n{"source": "zebra"}\n{"source": "apple"}\n')
        # Another address is another server: the journal is that of the first.
        journal = tmp_path / "out" / "journal.jsonl"
        found, *rest = journal.read_text().split("\n")
        moved = json.loads(found)
        moved["determines"]["base_url"] = address
        journal.write_text("\n".join([json.dumps(moved), *rest]))
        done = ask_quickly(inputs, settings(address), tmp_path / "out", monkeypatch)

    assert book.asked == {"bear": 1}
    found_rows = {row["source"]: row["targets"] for row in rows(done.folder / "answers.jsonl")}
    assert found_rows == {"bear": ["BEAR"], "zebra": ["ZEBRA"], "apple": ["APPLE"]}


def test_another_form_of_answer_needs_no_new_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that rejected everything is mended without paying again."""
    book = Book(share=0.0)
    with serving(book) as address:
        inputs = questions(tmp_path, 5)
        wrong = ask_quickly(inputs, settings(address, answer="Result: (.+)"), tmp_path / "out", monkeypatch)
        right = ask_quickly(inputs, settings(address, answer="QUESTION (.+)"), tmp_path / "out", monkeypatch)

    assert (wrong.texts, right.texts) == (0, 5)
    assert sum(book.asked.values()) == 5
    assert rows(tmp_path / "out" / "answers.jsonl")[0]["targets"] == ["NUMBER 0"]


def test_the_key_is_found_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gets it, no file does."""
    book = Book(share=0.3)
    with serving(book) as address:
        ask_quickly(questions(tmp_path, 40), settings(address), tmp_path / "out", monkeypatch)

    assert book.keys == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_missing_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the variable it is read from."""
    monkeypatch.delenv("SOME_KEY")

    with pytest.raises(GenerationError, match="environment variable SOME_KEY, which is not set; set it"):
        ask_quickly(questions(tmp_path, 1), settings("http://127.0.0.1:9/v1"), tmp_path / "out", monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 5}, r"endpoint: budget is 5\.0, but without price nobody knows"),
        ({"prompt": "hello"}, r"endpoint: prompt is 'hello', which never shows the input"),
        ({"modle": "x"}, r"modle: unknown key; did you mean 'model'\?"),
        ({"answer": "("}, r"answer: .*is no regular expression"),
        ({"price": {"input": -1, "output": 1}}, r"price\.input: .*greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_asked_are_told(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    """With their paths, before anybody is asked."""
    path = tmp_path / "endpoint.yaml"
    path.write_text(yaml.safe_dump({"model": "m", **changes}))

    with pytest.raises(ConfigError, match=message):
        read_endpoint(path)
