"""The batch API: half the price, resumed after a kill."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.api_teacher.scripted import Reply, answering
from tests.api_teacher.server import completion

from understudy.api_teacher.collect import collect
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.records import Example

EXAMPLES = [Example(f"q{number}", f"question {number}") for number in range(30)]
PRICE = {"input": 1000.0, "output": 1000.0}


class BatchServer:
    """Files, batches and direct completions; `dies` names the call after which the client is interrupted.

    `refuses` is the end of a source whose request in a batch it refuses.
    """

    def __init__(self, dies: str = "", refuses: str = "") -> None:
        self.dies = dies
        self.refuses = refuses
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, str] = {}
        self.direct = 0

    def respond(self, method: str, path: str, body: Any) -> Reply:  # noqa: ANN401, PLR0911 - decoded JSON, a table of calls
        """Answers one call."""
        call, name = f"{method} {path.split('?', maxsplit=1)[0]}", path.rsplit("/", maxsplit=1)[-1]
        if call == "POST /v1/chat/completions":
            self.direct += 1
            return 200, completion(body["messages"][-1]["content"], body, "")
        if call == "POST /v1/files":
            self.files[f"file-{len(self.files)}"] = body
            return 200, {"id": f"file-{len(self.files) - 1}"}
        if call == "POST /v1/batches":
            self.batches[f"batch-{len(self.batches)}"] = body["input_file_id"]
            if self.dies:
                self.dies = ""
                return 418, {}
            return 200, {"id": f"batch-{len(self.batches) - 1}", "status": "validating"}
        if call == "GET /v1/batches":
            return 200, {"data": [{"id": key, "input_file_id": file} for key, file in self.batches.items()]}
        if path.endswith("/content"):
            return 200, self.output(self.files[path.split("/")[-2]])
        return 200, {"id": name, "status": "completed", "output_file_id": self.batches[name]}

    def output(self, uploaded: bytes) -> bytes:
        """The answers to an uploaded file, with lines that answer nothing among them."""
        lines = [json.loads(line) for line in re.findall(rb'\{"custom_id".*\}', uploaded)]
        answers = [
            {
                "custom_id": line["custom_id"],
                "response": {
                    "status_code": 200,
                    "body": completion(line["body"]["messages"][-1]["content"], line["body"], ""),
                },
            }
            for line in lines
        ]
        for row, line in zip(answers, lines, strict=True):
            if self.refuses and line["body"]["messages"][-1]["content"].endswith(self.refuses):
                refusal = {"error": {"message": "the prompt was filtered", "code": "content_filter"}}
                row["response"] = {"status_code": 400, "body": refusal}
        return b"\n".join([b"not JSON", b'{"custom_id": "999999"}', *(json.dumps(row).encode() for row in answers)])


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "any word")


def settings(address: str, **more: object) -> Endpoint:
    """Endpoint settings with the batch API."""
    server = {"model": "m", "base_url": address, "key": "SOME_KEY", "batch": True, "price": PRICE, "max_tokens": 8}
    return Endpoint.model_validate({**server, **more})


def test_the_rest_is_requested_as_a_batch_at_half_the_price(tmp_path: Path) -> None:
    """Twenty direct requests of four tokens at full price, ten in a batch at half of it."""
    server = BatchServer()
    with answering(server.respond) as address:
        done = collect(EXAMPLES, settings(address), out=tmp_path)

    assert (done.texts, server.direct, len(server.batches)) == (30, 20, 1)
    assert done.outcome.spent == pytest.approx((20 * 4 + 10 * 4 * 0.5) * 1000 / 1e6)


def test_an_interrupted_batch_is_resumed_and_not_created_twice(tmp_path: Path) -> None:
    """The batch existed although its id never arrived: the next call finds it by its file."""
    server = BatchServer(dies="POST /v1/batches")
    with answering(server.respond) as address:
        with pytest.raises(GenerationError, match=r"batch API.*HTTP status 418.*same command again"):
            collect(EXAMPLES, settings(address), out=tmp_path)
        done = collect(EXAMPLES, settings(address), out=tmp_path)
        again = collect(EXAMPLES, settings(address), out=tmp_path)

    assert (done.texts, again.texts, server.direct, len(server.batches), len(server.files)) == (30, 30, 20, 1, 1)


def test_the_budget_holds_for_batches(tmp_path: Path) -> None:
    """Half of the maximum is 0.0415 for each: after 0.08 for direct requests, 7 of 10 are covered at first."""
    server = BatchServer()
    with answering(server.respond) as address:
        done = collect(EXAMPLES, settings(address, budget=0.4), out=tmp_path)

    assert done.outcome.spent <= 0.4
    assert [content.count(b"custom_id") for content in server.files.values()] == [7, 3]
    assert done.texts == 30


def test_a_refusal_inside_a_batch_has_the_words_of_the_server(tmp_path: Path) -> None:
    """As a request that is sent by itself; the others are answered."""
    last = EXAMPLES[-1]
    server = BatchServer(refuses=last.source)
    with answering(server.respond) as address:
        done = collect(EXAMPLES, settings(address), out=tmp_path)

    assert done.outcome.failed == {last.id: "HTTP status 400 (content_filter): the prompt was filtered"}
