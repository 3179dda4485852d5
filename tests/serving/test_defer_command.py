"""The options of `serve` about the teacher's endpoint, and what is sent to it."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.serving.test_server_processes import command
from tests.standin import KEY, KEY_VARIABLE, Standin, standing_in

from understudy.api_teacher.request_body import Dialect
from understudy.cli import main
from understudy.cli.init_records import describe_records
from understudy.config.decoding import Greedy
from understudy.config.endpoint import Endpoint
from understudy.config.task import Format
from understudy.pipeline.inspect.deploy import confidence_of, teacher_endpoint
from understudy.pipeline.run import Run
from understudy.serving.deployment import TextSettings
from understudy.serving.ledger import Ledger
from understudy.serving.requests import RequestForm, chat_request, completion_request
from understudy.serving.upstream import Asked, teacher_body
from understudy.tasks.record import no_log

URL = "http://127.0.0.1:9/v1"
DEFER = ["--defer", URL, "--teacher-model", "large", "--teacher-key", KEY_VARIABLE]


@pytest.fixture
def standin() -> Iterator[Standin]:
    """The teacher's endpoint."""
    with standing_in() as running:
        yield running


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def test_sigterm_loses_no_deferred_request(finished: Run, standin: Standin, tmp_path: Path) -> None:
    """Four wait for the teacher when the signal comes; they get its texts, and all are kept. The log has no key."""
    standin.released.clear()
    texts, spent = tmp_path / "texts", tmp_path / "ledger"
    options = [*DEFER, "--threshold", "1", "--keep-texts", str(texts), "--ledger", str(spent)]
    options[1] = standin.url
    with command(finished, *options) as (process, url), ThreadPoolExecutor(4) as pool:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        with httpx2.Client() as http:
            assert http.get(f"{url.removesuffix('/v1')}/ready", timeout=120).status_code == 200
        waiting = [pool.submit(client.completions.create, model="tiny", prompt=f"wind {i}") for i in range(4)]
        while len(standin.requests) < 4 and not all(each.done() for each in waiting):
            pass
        process.send_signal(signal.SIGTERM)
        standin.released.set()
        assert [each.result().choices[0].text for each in waiting] == [f"WIND {i}" for i in range(4)]
        _, log = process.communicate()
    assert process.returncode == 0
    described, *lines, last = log.splitlines()
    assert described == "large answers sources whose probability is below 1"
    assert [(json.loads(line)["status"], json.loads(line)["answered_by"]) for line in lines] == [(200, "teacher")] * 4
    assert last == "stopped: every accepted request was answered"
    assert KEY not in log
    learned, _ = describe_records(texts, Format(), no_log)
    assert learned.targets == {f"wind {i}": (f"WIND {i}",) for i in range(4)}
    with closing(Ledger(spent, "")) as ledger:
        assert ledger.spent()[0] == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--defer", "nowhere"], "base_url"),
        (["--defer", URL], "model"),
        (["--defer", "teacher"], "was no endpoint"),
        ([*DEFER, "--teacher-key", "NOT_SET"], "NOT_SET, which is not set"),
        ([*DEFER, "--threshold", "often"], "--threshold is 'often'; give auto"),
        ([*DEFER, "--threshold", "1.5"], "--threshold is '1.5'; give auto"),
        ([*DEFER, "--budget", "5"], "set price.input and price.output"),
        ([*DEFER, "--teacher-set", "prise.input=1"], "prise"),
        ([*DEFER, "--teacher-set", "price"], "--teacher-set expects key=value, got 'price'"),
        ([*DEFER, "--shadow", URL], "nothing to defer"),
        ([*DEFER, "--shadow", "http://127.0.0.1:8/v1"], "give one endpoint for both"),
        ([*DEFER, "--shadow-answers", "nobody"], "give teacher or student"),
        ([*DEFER, "--ledger", "/dev/null/x"], "--ledger is /dev/null/x"),
        (["--ledger", "x"], "--ledger is for an endpoint; give its address with --defer"),
        ([*DEFER, "--shadow-answers", "student", "--shadow", URL, "--shadow-out", "/nowhere/x"], "cannot be written"),
        (["--budget", "5", "--budget-requests", "3"], "--budget and --budget-requests are for an endpoint"),
        (["--teacher-set", "temperature=1"], "--teacher-set is for an endpoint"),
        (["--threshold", "0.5"], "--threshold is about deferring; give --defer"),
        ([*DEFER, "--threshold", "0.5", "--quality", "0.9"], "--quality is about --threshold auto"),
        ([*DEFER, "--shadow-out", "x", "--shadow-share", "1"], "--shadow-share and --shadow-out are about requests"),
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
    assert sentence in capfd.readouterr().err


@pytest.mark.parametrize("options", [[*DEFER[:4], "--teacher-key"], ["--token-variable"]])
def test_a_secret_in_place_of_a_variable_is_not_repeated(
    finished: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """The message says what is needed instead."""
    monkeypatch.setattr("sys.argv", ["understudy", "serve", str(finished.folder), *options, KEY])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capfd.readouterr().err
    assert stop.value.code == 1
    assert f"{options[-1]} takes the name of an environment variable" in shown
    assert KEY not in shown


@pytest.mark.slow
def test_workers_share_the_budget(finished: Run, standin: Standin) -> None:
    """Of twelve deferred requests to two processes, five are paid for; the metrics are those of both."""
    options = [*DEFER, "--threshold", "1", "--budget-requests", "5", "--workers", "2"]
    options[1] = standin.url
    with command(finished, *options) as (process, url), httpx2.Client(timeout=120) as http:
        body = {"model": "tiny", "prompt": "wind 3"}
        headers = {"connection": "close"}  # so that either worker may get the next one
        found = [http.post(f"{url}/completions", json=body, headers=headers) for _ in range(12)]
        marks = [one.headers.get("x-understudy-teacher-failure", "answered") for one in found]
        assert [marks.count(mark) for mark in ("answered", "budget")] == [5, 7]
        page = http.get(f"{url.removesuffix('/v1')}/metrics").text
        assert "understudy_teacher_requests 5.0" in page
        assert 'understudy_answers_total{by="student"} 7.0' in page
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0


def test_auto_is_the_threshold_of_dev(finished: Run) -> None:
    """With its calibration; a number is compared with the same probability."""
    from understudy.cli.serve_upstream import DeferOptions, _deferral

    found = confidence_of(finished.folder)
    assert found is not None
    reached = max(point.quality for point in found.dev)
    auto = _deferral(finished.folder, "student", DeferOptions(URL, "auto", reached))
    assert auto.threshold == found.threshold(reached)
    assert f"on dev {found.point(reached).deferred:.0%} of them" in auto.note
    assert _deferral(finished.folder, "student", DeferOptions(URL, "0.5", 1.0)).calibration == auto.calibration
    sure = [point for point in (0.01, 0.5, 0.99) if not auto.defers(point)]
    assert sure == [point for point in (0.01, 0.5, 0.99) if found.calibration.probability(point) >= auto.threshold]


def test_a_run_with_a_local_teacher_needs_a_model(finished: Run) -> None:
    """Its prompt and its length limit are the endpoint's; nothing else is known."""
    found = teacher_endpoint(finished.folder, URL, {"model": "large"}, ["price.input=1", "price.output=2"])
    assert (found.base_url, found.prompt, found.max_tokens, found.temperature) == (URL, "{source}", 200, None)
    assert found.price is not None
    assert found.price.output == 2


FORM = RequestForm(("Summarise: {source}",), ("Be brief.",))
ENDPOINT = Endpoint.model_validate(
    {"model": "large", "prompt": "Summarise: {source}", "system": "Be brief.", "max_tokens": 50, "temperature": 0.3}
)


def sent_on(kind: Any, content: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - the kind of API
    """What a request becomes."""
    body = json.dumps({"model": "m", **content}).encode()
    read = {"chat": chat_request, "completion": completion_request}[kind]
    wanted = read(body, FORM, TextSettings(Greedy(), 60))
    return teacher_body(json.loads(body), Asked("id", kind, body, wanted, 0.0), 0, ENDPOINT, Dialect.of(ENDPOINT))


def test_what_an_application_sends_to_the_teacher_is_sent_on_as_it_is() -> None:
    """Messages with the prompt or a system message, and every parameter but model, stream and a larger limit."""
    system = {"role": "system", "content": "Be brief."}
    parts = {"role": "user", "content": [{"type": "text", "text": "Summarise: a"}]}
    assert sent_on("chat", {"messages": [system, parts], "stream": True, "max_completion_tokens": 70, "user": "u"}) == {
        "model": "large",
        "messages": [system, parts],
        "max_tokens": 50,
        "user": "u",
    }
    with_prompt = [{"role": "user", "content": "Summarise: a"}]
    found = sent_on("chat", {"messages": with_prompt, "max_tokens": 7, "top_p": 0.5, "stop": None})
    assert found == {"model": "large", "messages": with_prompt, "max_tokens": 7, "top_p": 0.5}


def test_a_bare_source_gets_the_recorded_prompt() -> None:
    """To the teacher it means nothing alone. Parameters that the client leaves out are the run's."""
    built = {
        "model": "large",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Summarise: a"}],
        "max_tokens": 50,
        "temperature": 0.3,
        "top_p": 1.0,
    }
    assert sent_on("chat", {"messages": [{"role": "user", "content": "a"}]}) == built
    assert sent_on("completion", {"prompt": "a", "temperature": 0.9, "user": "u"}) == {**built, "temperature": 0.9}
    assert sent_on("completion", {"prompt": "Summarise: a", "logprobs": 0}) == {**built, "logprobs": True}
