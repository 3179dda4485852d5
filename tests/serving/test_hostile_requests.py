"""The small version of `scripts/hostile_requests.py`."""

import asyncio
import json
import logging

import pytest
from scripts.hostile_request_kinds import KINDS, post
from scripts.hostile_requests import Findings, exchange, send
from tests.running_server import Served, serving

from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.limits import ServerLimits

NEVER_COMPLETE = "never complete"


def port_of(served: Served) -> int:
    """The port of a server."""
    return int(served.url.removesuffix("/v1").rpartition(":")[2])


def test_hostile_requests_are_refused_and_harm_nobody(
    served: Served, predictions: list[Prediction], caplog: pytest.LogCaptureFixture
) -> None:
    """No status 500, a sentence for each refusal, and requests between them get the evaluated text."""
    findings, names = Findings(), [name for name in KINDS if name != NEVER_COMPLETE]
    with caplog.at_level(logging.ERROR):
        asyncio.run(send(port_of(served), 7, range(150), names, predictions, findings))

    assert findings.failures == []
    assert findings.statuses["correct 200"] > 5
    assert {"200", "400", "404", "413"} <= set(findings.statuses)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_body_that_never_comes_is_504(finished: Run) -> None:
    """The time of a request begins with its headers."""
    with serving(finished.folder, ServerLimits(timeout_s=0.05)) as late:
        found = asyncio.run(exchange(port_of(late), [post(b'{"model": ', length=500)]))

    assert found.startswith(b"HTTP/1.1 504 ")
    assert json.loads(found.rpartition(b"\r\n\r\n")[2])["error"]["message"] == "no answer within 0.05 s; try again"
