"""Sends hostile requests to a started server: no status 500, refusals are sentences, memory stays, the server goes on.

    python scripts/hostile_requests.py runs/demo --requests 10000 --seed 1

Seed and number of a request decide what it is. One of ten is correct and must get the evaluated text (or 429 or 504).
What is a request of HTTP must be answered with 200 or an error in OpenAI's shape; anything else with a status below
500, or not at all. The exit code is 1 if anything failed.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.hostile_request_kinds import KINDS, MODEL, Kind, Sent, correct, post
from scripts.server_process import server_process

from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.open import open_run
from understudy.records import Prediction

LIMITS = ("--alias", MODEL, "--limit", "timeout_s=20")
CONNECTIONS = 32
LIMITED = ("429", "504")
"""Statuses that a correct request may get instead of its text, while others use the server."""
CORRECT_SHARE = 0.1
ERROR_KEYS = {"message", "type", "param", "code"}
EARLY = 1000
"""Requests after which memory is compared."""
MOST_GROWTH = 1.1
MOST_SECONDS = 120.0
"""Of one request: `timeout_s`, on a busy machine."""


@dataclass
class Findings:
    """What the server did."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


async def exchange(port: int, sent: Sent, *, aborts: bool = False, ends: bool = False) -> bytes:
    """What the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        for part in sent:
            if isinstance(part, bytes):
                writer.write(part)
            else:
                await asyncio.sleep(part)
        if ends:
            with suppress(OSError):  # it may have refused and closed the connection already
                writer.write_eof()
        if aborts:
            await writer.drain()
        else:
            async with asyncio.timeout(MOST_SECONDS):
                while piece := await reader.read(1 << 16):
                    received += piece
    except ConnectionError:  # it refused to read on; what it answered before may be lost
        pass
    finally:
        writer.transport.abort() if aborts else writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return received


def fault(kind: Kind, received: bytes) -> str | None:
    """What is wrong with the answer to a hostile request."""
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    if any(status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.GATEWAY_TIMEOUT for status in statuses):
        return f"status {statuses}"
    if not kind.valid:
        return None
    status = next((status for status in statuses if status >= HTTPStatus.OK), 0)  # not 100 Continue
    body = received.rpartition(b"\r\n\r\n")[2]
    if status == HTTPStatus.OK:
        return None
    try:
        error = json.loads(body)["error"]
        sentence = set(error) == ERROR_KEYS and len(str(error["message"]).split()) > 2
    except (ValueError, KeyError, TypeError):
        sentence = False
    return None if sentence else f"status {status} without a sentence"


def text_of(received: bytes) -> str | None:
    """The text of a correct answer."""
    try:
        text: str = json.loads(received.rpartition(b"\r\n\r\n")[2])["choices"][0]["text"]
    except (ValueError, KeyError):
        return None
    return text


async def one(
    port: int, seed: int, number: int, names: Sequence[str], predictions: Sequence[Prediction], findings: Findings
) -> None:
    """Sends one request and checks the answer."""
    rng = Random(f"{seed}/{number}")
    wanted = rng.choice(predictions)
    if rng.random() < CORRECT_SHARE:
        received = await exchange(port, [post(json.dumps(correct(wanted.source)).encode())])
        status = received[9:12].decode()
        if status not in LIMITED and text_of(received) != wanted.text:
            findings.failures.append(f"request {number}, a correct one: {received[:500]!r}")
        findings.statuses[f"correct {status}"] += 1
        return
    name = rng.choice(names)
    kind = KINDS[name]
    try:
        received = await exchange(port, kind.make(rng, wanted.source), aborts=kind.aborts, ends=kind.ends)
        found = fault(kind, received)
    except (TimeoutError, OSError) as error:
        received, found = b"", f"{type(error).__name__} {error}"
    findings.statuses[(received[9:12] or b"closed").decode("latin-1")] += 1
    if found:
        findings.failures.append(f"request {number}, {name}: {found}: {received[:500]!r}")


async def send(
    port: int,
    seed: int,
    numbers: range,
    names: Sequence[str],
    predictions: Sequence[Prediction],
    findings: Findings,
) -> None:
    """Sends these requests on many connections."""
    waiting = iter(numbers)

    async def client() -> None:
        for number in waiting:
            await one(port, seed, number, names, predictions, findings)

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


def run(folder: Path, requests: int, seed: int, names: Sequence[str] = tuple(KINDS)) -> tuple[Findings, float]:
    """What a server of a run did, and its memory at the end, divided by that after `EARLY` requests.

    The last of all are correct: the server still answers.
    """
    opened = open_run(folder)
    predictions = list(read_predictions(opened.predictions(opened.facts["method"]) / "test.jsonl"))
    findings = Findings()
    with server_process(folder, *LIMITS) as server:
        asyncio.run(send(server.port, seed, range(min(EARLY, requests)), names, predictions, findings))
        early = server.memory()
        asyncio.run(send(server.port, seed, range(EARLY, requests), names, predictions, findings))
        late = server.memory()
        for wanted in predictions[:3]:
            received = asyncio.run(exchange(server.port, [post(json.dumps(correct(wanted.source)).encode())]))
            if text_of(received) != wanted.text:
                findings.failures.append(f"after the last request: {received[:500]!r}")
        server.process.terminate()
        if (code := server.process.wait(90)) != 0:
            findings.failures.append(f"exit code {code}")
        server.copying.wait()
        if "Traceback" in (log := server.log.read_text(errors="replace")):
            findings.failures.append(f"a traceback in the log: {log[log.index('Traceback') :][:3000]}")
    return findings, late / early


def main() -> None:
    """Sends the requests and prints what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"seed {given.seed}, {len(KINDS)} kinds of requests")
    findings, growth = run(given.run, given.requests, given.seed)
    if growth > MOST_GROWTH:
        findings.failures.append(f"memory grew to {growth:.2f} times that after {EARLY} requests")
    print(f"answers: {dict(sorted(findings.statuses.items()))}")
    print(f"memory: x {growth:.3f} of that after {EARLY} requests")
    for failure in findings.failures[:50]:
        print(f"  {failure}")
    print(f"{len(findings.failures)} failures in {given.requests} requests")
    sys.exit(1 if findings.failures else 0)


if __name__ == "__main__":
    main()
