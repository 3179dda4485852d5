"""What the probe finds out about servers that behave like those of the providers."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.api_teacher.scripted import Reply, answering
from tests.api_teacher.server import completion

from understudy.api_teacher.collect import collect
from understudy.api_teacher.costs import shown_amount
from understudy.api_teacher.request_types import most_common
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.progress import NoProgress
from understudy.records import Example

EXAMPLES = [Example(f"q{number}", f"question {number}") for number in range(4)]


@dataclass(frozen=True)
class ServerDialect:
    """How a provider answers a parameter that it does not support."""

    refuses: Mapping[str, str] = field(default_factory=dict)
    """Parameter -> the provider's words, with status 400."""
    only_default: frozenset[str] = frozenset()
    """Parameters that are refused with another value than 1."""
    ignores: frozenset[str] = frozenset()
    names_parameter: bool = True
    """Whether the field `param` of an error is set."""


OPENAI_REFUSAL = "Unsupported parameter: '{}' is not supported with this model."
DIALECTS = {
    "gpt-4.1": ServerDialect(),
    "gpt-5": ServerDialect(
        refuses={
            "max_tokens": OPENAI_REFUSAL.format("max_tokens") + " Use 'max_completion_tokens' instead.",
            "logprobs": OPENAI_REFUSAL.format("logprobs"),
            "top_logprobs": OPENAI_REFUSAL.format("top_logprobs"),
        },
        only_default=frozenset({"temperature", "top_p"}),
    ),
    "claude": ServerDialect(
        refuses={"n": "n: must be exactly 1"}, ignores=frozenset({"logprobs"}), names_parameter=False
    ),
    "claude, one of two": ServerDialect(
        refuses={"top_p": "`temperature` and `top_p` cannot both be specified for this model."}, names_parameter=False
    ),
    "gemini": ServerDialect(
        refuses={"logprobs": 'Invalid JSON payload received. Unknown name "logprobs": Cannot find field.'},
        names_parameter=False,
    ),
    "ollama": ServerDialect(ignores=frozenset({"n"})),
    "vllm": ServerDialect(),
    "older than max_completion_tokens": ServerDialect(
        refuses={"max_completion_tokens": "Extra inputs: max_completion_tokens"}
    ),
}


class Log(NoProgress):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Keeps a line."""
        self.lines.append(message)


def respond_as(dialect: ServerDialect, seen: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - a function
    """The replies of a server of this dialect; accepted requests are appended to `seen`."""

    def respond(_method: str, _path: str, request: Any) -> Reply:  # noqa: ANN401 - decoded JSON
        for name in request:
            words = dialect.refuses.get(name)
            if name in dialect.only_default and request[name] != 1:
                words = f"Unsupported value: '{name}' does not support {request[name]} with this model."
            if words:
                return 400, {"error": {"message": words, "param": name if dialect.names_parameter else None}}
        seen.append(request)
        taken = {name: value for name, value in request.items() if name not in dialect.ignores}
        return 200, completion(request["messages"][-1]["content"], taken, "")

    return respond


def collect_from(name: str, folder: Path, **settings: object) -> tuple[list[dict[str, Any]], list[str], int]:
    """The accepted requests, the lines shown, and the number of usable texts."""
    seen: list[dict[str, Any]] = []
    log = Log()
    with answering(respond_as(DIALECTS[name], seen)) as address:
        endpoint = Endpoint.model_validate({"model": name, "base_url": address, "key": "SOME_KEY", **settings})
        done = collect(EXAMPLES, endpoint, out=folder, progress=log)
    return seen, log.lines, done.texts


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "any word")


@pytest.mark.parametrize(
    ("name", "settings", "sent", "finding"),
    [
        ("gpt-4.1", {"top_logprobs": 1}, {"max_tokens": 256, "temperature": 1.0}, "max_tokens accepted; log-prob"),
        (
            "gpt-5",
            {"reasoning_effort": "low"},
            {"max_completion_tokens": 256, "reasoning_effort": "low"},
            "max_completion",
        ),
        (
            "gpt-5",
            {"temperature": None, "top_p": None},
            {"max_completion_tokens": 256},
            "max_completion_tokens accepted",
        ),
        ("claude", {"per_input": 2, "top_logprobs": 1}, {"temperature": 1.0}, "no usable log-probabilities"),
        ("claude, one of two", {"temperature": 0.5}, {"temperature": 0.5}, "top_p refused, its value is the default"),
        ("gemini", {"extra_body": {"seed": 3}}, {"seed": 3, "max_tokens": 256}, "max_tokens accepted"),
        ("ollama", {"per_input": 2}, {"max_tokens": 256}, "1 of 2 texts per request"),
        ("vllm", {"stop": ["\n"], "extra_body": {"top_k": -1}}, {"stop": ["\n"], "top_k": -1}, "max_tokens accepted"),
        ("older than max_completion_tokens", {}, {"max_tokens": 256}, "max_tokens accepted"),
    ],
)
def test_the_probe_adapts_requests_and_says_so(
    name: str, settings: dict[str, object], sent: dict[str, object], finding: str, tmp_path: Path
) -> None:
    """Every input gets its texts; one line says what the server takes and gives."""
    seen, lines, texts = collect_from(name, tmp_path, **settings)

    assert texts == len(EXAMPLES) * int(str(settings.get("per_input", 1)))
    assert all(sent.items() <= request.items() for request in seen)
    assert len([line for line in lines if "probe of" in line and finding in line]) == 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt-5", {"temperature": 0.2}, r"refuses temperature \(0\.2\).*does not support 0\.2.*temperature: null"),
        ("gpt-5", {"top_logprobs": 5}, r"refuses logprobs.*top_logprobs: 0, or reasoning_effort: none"),
        ("gemini", {"top_logprobs": 5}, r"refuses logprobs.*Unknown name"),
        ("gpt-5", {"length_parameter": "max_tokens"}, r"refuses max_tokens \(256\).*length_parameter"),
        ("ollama", {"length_parameter": "max_completion_tokens", "extra_body": {"bad": 1}}, None),
    ],
)
def test_a_refused_setting_that_changes_the_texts_stops_the_command(
    name: str, settings: dict[str, object], message: str | None, tmp_path: Path
) -> None:
    """The message has the parameter, its value, the server's words and the setting to change; nothing is spent."""
    if message is None:
        assert collect_from(name, tmp_path, **settings)[2] == len(EXAMPLES)
        return
    with pytest.raises(GenerationError, match=message):
        collect_from(name, tmp_path, **settings)
    ends = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [event["cost"] for event in ends if "ended" in event] == [0.0]


def test_most_rejected_inputs_stop_the_command_after_the_smoke_round(tmp_path: Path) -> None:
    """Of 30 inputs, 20 are requested; the message has counts, a response and the settings to change."""
    seen: list[dict[str, Any]] = []
    examples = [Example(f"q{number}", f"question {number}") for number in range(30)]
    with answering(respond_as(DIALECTS["vllm"], seen)) as address:
        settings = {"model": "m", "base_url": address, "key": "SOME_KEY", "answer": "Result: (.+)"}
        with pytest.raises(GenerationError, match=r"20 of 20 inputs have no usable text.*'QUESTION 0'.*`answer`"):
            collect(examples, Endpoint.model_validate(settings), out=tmp_path)
        assert len(seen) == 20
        done = collect(examples, Endpoint.model_validate(settings | {"answer": "(.+)"}), out=tmp_path)

    assert (len(seen), done.texts) == (30, 30)


@pytest.mark.parametrize("words", ["The model foo does not exist", "Unsupported parameter: 'top_logprobs'"])
def test_a_refusal_that_names_no_parameter_sent_stops_the_command_after_the_probe(words: str, tmp_path: Path) -> None:
    """One request; the message has the server's words and address; failed.jsonl has the words, and neither the key."""
    count = [0]

    def respond(_method: str, _path: str, _request: object) -> Reply:
        count[0] += 1
        return 400, {"error": {"message": f"{words}\n" + "any word " * 100, "code": "bad"}}

    with answering(respond) as address:
        endpoint = Endpoint.model_validate({"model": "foo", "base_url": address, "key": "SOME_KEY"})
        with pytest.raises(GenerationError) as error:
            collect(EXAMPLES, endpoint, out=tmp_path)

    failed = [json.loads(line)["reason"] for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert count[0] == 1
    assert f"{address} refuses the first request" in str(error.value)
    assert f"HTTP status 400 (bad): {words} *** ***" in str(error.value)
    assert failed[0].startswith(f"HTTP status 400 (bad): {words}")
    assert len(failed[0]) < 240
    assert failed[1:] == ["not requested yet"] * 3
    assert "any" not in str(error.value) + failed[0]


def test_a_refusal_of_one_input_does_not_stop_the_others(tmp_path: Path) -> None:
    """The first input is filtered; a later call requests it again, and the answers of the others stay."""

    def respond(_method: str, _path: str, request: Any) -> Reply:  # noqa: ANN401 - decoded JSON
        prompt = request["messages"][-1]["content"]
        if prompt == "question 0":
            return 400, {"error": {"message": "the prompt was filtered", "code": "content_filter"}}
        return 200, completion(prompt, request, "")

    with answering(respond) as address:
        endpoint = Endpoint.model_validate({"model": "m", "base_url": address, "key": "SOME_KEY"})
        for _ in range(2):
            done = collect(EXAMPLES, endpoint, out=tmp_path)
            assert done.texts == 3
            assert done.outcome.failed == {"q0": "HTTP status 400 (content_filter): the prompt was filtered"}


def test_a_reply_of_another_kind_is_shown(tmp_path: Path) -> None:
    """Its content type and its beginning are in the reason."""
    with answering(lambda *_: (200, b"<html>login any word</html>" + b"x" * 100)) as address:
        settings = {"model": "m", "base_url": address, "key": "SOME_KEY", "attempts": 1, "smoke_inputs": 0}
        done = collect(EXAMPLES[:1], Endpoint.model_validate(settings), out=tmp_path)

    (reason,) = done.outcome.failed.values()
    assert reason == f"malformed response: text/html '<html>login ***</html>{'x' * 38}...'"


def test_a_model_that_only_reasoned_is_named_as_the_reason(tmp_path: Path) -> None:
    """Also when the journal is read again."""
    message = {"content": None, "reasoning_content": "Let me think"}
    reply = {"choices": [{"message": message, "finish_reason": "length"}]}
    with answering(lambda *_: (200, reply)) as address:
        endpoint = Endpoint.model_validate({"model": "m", "base_url": address, "key": "SOME_KEY", "smoke_inputs": 0})
        collected = [collect(EXAMPLES, endpoint, out=tmp_path) for _ in range(2)]

    reason = "empty, because the model only reasoned (raise max_tokens or set reasoning_effort)"
    assert [done.outcome.rejected for done in collected] == [{reason: 4}] * 2
    assert reason in (tmp_path / "failed.jsonl").read_text()


def test_small_costs_keep_two_digits() -> None:
    """A cost that is not zero is never shown as zero."""
    shown = [shown_amount(value) for value in (0, 0.0000123, 0.0028, 0.05, 1.5)]
    assert shown == ["0.00", "0.000012", "0.0028", "0.050", "1.50"]


def test_no_cost_per_text_is_shown_without_a_text(tmp_path: Path) -> None:
    """All responses are rejected."""
    examples = [Example(f"q{number}", f"question {number}") for number in range(30)]
    with answering(respond_as(DIALECTS["vllm"], [])) as address:
        settings = {"model": "m", "base_url": address, "key": "SOME_KEY", "answer": "Result: (.+)"}
        priced = Endpoint.model_validate(settings | {"price": {"input": 1.0, "output": 1.0}})
        with pytest.raises(GenerationError, match=r"0 usable texts \(no match.*: 20\)\. 20 of 20.*0\.000080 is spent"):
            collect(examples, priced, out=tmp_path)


def test_reasons_that_differ_each_time_are_summed_up() -> None:
    """The most common ones are listed."""
    reasons = Counter({f"id {number}": 1 for number in range(20)} | {"timeout": 7})
    listed = most_common(reasons)
    assert (len(listed), listed["timeout"], listed["other reasons"]) == (11, 7, 11)
