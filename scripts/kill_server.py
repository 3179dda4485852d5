"""Signals to a server under load: SIGTERM loses no accepted request, and a worker killed by SIGKILL is replaced.

    python scripts/kill_server.py runs/demo --seconds 10

A server with 64 clients gets SIGTERM. The requests in its log are those that it accepted: each must have reached its
client. Then each of two workers is killed while 64 clients retry lost connections as the official client does; every
request must be answered, and two workers must be there in the end. The exit code is 1 if anything failed.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.load_client import LOST, Load, closed_loop, http_request
from scripts.server_process import ServerProcess, server_process, stop

from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.open import open_run


async def load_with_signals(
    server: ServerProcess, requests: list[bytes], given: argparse.Namespace, signals: Sequence[Callable[[], object]]
) -> Load:
    """What became of the requests of many clients while signals were sent, one after each `seconds`."""
    loop = closed_loop(
        server.port,
        requests,
        clients=given.clients,
        seconds=given.seconds * (len(signals) + 1),
        retries=len(signals) > 1,
        keep_bodies=True,
    )
    load = asyncio.create_task(loop)
    for send in signals:
        await asyncio.sleep(given.seconds)
        send()
    return await load


def ids(load: Load) -> set[str]:
    """The ids of the answers that clients received."""
    return {json.loads(reply.body)["id"] for reply in load.replies if reply.status == HTTPStatus.OK}


def sigterm(requests: list[bytes], given: argparse.Namespace) -> bool:
    """Whether a server that is ended answers all that it accepted."""
    with server_process(given.run) as server:
        warm = asyncio.run(closed_loop(server.port, requests, clients=1, count=1, keep_bodies=True))
        load = asyncio.run(load_with_signals(server, requests, given, [server.process.terminate]))
        code = server.process.wait(90)
        accepted, received = server.answered(), ids(warm) | ids(load)
    print(
        f"SIGTERM: exit code {code}; accepted {len(accepted)}, received {len(accepted & received)}; not accepted, for "
        f"their connection was closed before they were read: {load.statuses.get(LOST, 0)}; others "
        f"{ {status: number for status, number in load.statuses.items() if status not in (HTTPStatus.OK, LOST)} }"
    )
    return code == 0 and accepted == received and set(load.statuses) <= {HTTPStatus.OK, LOST}


def sigkill(requests: list[bytes], given: argparse.Namespace) -> bool:
    """Whether clients that retry are answered while both workers are killed, one after the other."""
    with server_process(given.run, "--workers", "2") as server:
        asyncio.run(closed_loop(server.port, requests, clients=8, count=64))
        first, second = sorted(server.workers())
        kills = [partial(os.kill, pid, signal.SIGKILL) for pid in (first, second)]
        load = asyncio.run(load_with_signals(server, requests, given, kills))
        workers = server.workers()
        code = stop(server.process)
    tries = Counter(reply.tries for reply in load.replies)
    retried = [reply for reply in load.replies if reply.tries > 1]
    print(
        f"SIGKILL of both workers: statuses {load.statuses}; {len(retried)} requests were sent again, by tries "
        f"{dict(sorted(tries.items()))}, the longest took {max(reply.seconds for reply in load.replies):.1f} s; "
        f"{len(workers - {first, second})} new workers, exit code {code}"
    )
    return code == 0 and set(load.statuses) == {HTTPStatus.OK} and len(workers - {first, second}) == 2


def main() -> None:
    """Sends the signals and prints what became of the requests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10, help="before each signal, and after the last one")
    given = parser.parse_args()
    run = open_run(given.run)
    predictions = read_predictions(run.predictions(run.facts["method"]) / "test.jsonl")
    requests = [
        http_request("/v1/completions", {"model": run.recipe.name, "prompt": one.source}) for one in predictions
    ]
    held = [sigterm(requests, given), sigkill(requests, given)]
    print("0 failures" if all(held) else f"{held.count(False)} failures")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
