"""A real llama.cpp server (the wheel xllamacpp) with a tiny network, as an API teacher."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.api_teacher.collect import collect
from understudy.config.endpoint import Endpoint
from understudy.demo.forecast import forecast_task
from understudy.progress import NoProgress
from understudy.records import Example

pytest.importorskip("gguf")
xllamacpp = pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server: its constructor returns once it listens."""
    from tests.api_teacher.foreign import make_gguf

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    make_gguf(path, forecast_task(labeled=100, unlabeled=1, dev=1, test=1, seed=1).labeled, steps=3)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.port, parameters.warmup = 2048, 2, 0, False
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


class Log(NoProgress):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Keeps a line."""
        self.lines.append(message)


def test_llama_cpp_returns_texts_with_log_probabilities(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text has log-probabilities of its tokens; the first line of a truncated text is whole and usable."""
    monkeypatch.setenv("SOME_KEY", "any word")
    log = Log()
    settings = {"model": "tiny", "base_url": address, "key": "SOME_KEY", "per_input": 2, "per_request": 2}
    limits = {"max_tokens": 12, "top_logprobs": 3, "concurrency": 2, "answer": r"(.).*", "refusals": []}
    done = collect(
        [Example(f"q{number}", f"rain {number}") for number in range(3)],
        Endpoint.model_validate(settings | limits),
        out=tmp_path,
        progress=log,
    )
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    choices = [choice for event in events if "ended" in event for choice in event["choices"]]

    assert done.outcome.answered == 3
    assert len(choices) == 6
    assert all(len(position["top"]) >= 3 for choice in choices for position in choice["logprobs"])
    assert {choice["finish_reason"] for choice in choices} <= {"stop", "length"}
    assert any("2 of 2 texts per request; log-probabilities" in line for line in log.lines)
