"""Collects texts from a server whose replies are hostile, and checks answers, budget and memory.

    python scripts/hostile_replies.py --inputs 10000 --seed 1

Every request of an input may meet another kind of reply; seed, input and the number of the request decide which. The
server runs in a process of its own, so that the memory measured is that of the collecting process alone.
"""

import argparse
import hashlib
import json
import os
import random
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.hostile_bodies import CHANGED, ENDLESS, FREE, JSON, KINDS, MEGABYTE, RAW, honest, reply

from understudy.api_teacher import client, scheduler
from understudy.api_teacher.collect import CollectResult, collect
from understudy.api_teacher.collect_files import FAILED, RESPONSES
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.records import Example

HOSTILE_SHARE = 0.5
PRICE = 1000.0
"""Per million tokens: a token costs 0.001."""
MOST_MEMORY_MB = 300


class HostileServer(socketserver.ThreadingTCPServer):
    """Counts the requests of each prompt, and the tokens that it would bill."""

    allow_reuse_address, daemon_threads, request_queue_size = True, True, 512

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.seed, self.lock = seed, threading.Lock()
        self.requests: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.billed = 0

    def kind_of(self, prompt: str) -> str:
        """The kind of the next reply to this prompt; empty: a correct one."""
        with self.lock:
            self.requests[prompt] += 1
            draw = random.Random(hashlib.sha256(f"{self.seed}/{prompt}/{self.requests[prompt]}".encode()).digest())
            kind = draw.choice(KINDS) if draw.random() < HOSTILE_SHARE else ""
            self.kinds[kind or "correct"] += 1
            self.billed += 0 if kind in FREE else 2 * len(prompt.split())
        return kind


class Connection(socketserver.StreamRequestHandler):
    """Answers one request and closes the connection."""

    server: HostileServer

    def handle(self) -> None:
        """Reads the request and sends the reply."""
        head = b""
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            head += line
        if head.startswith(b"GET"):
            bill = {"billed": self.server.billed, "requests": sum(self.server.requests.values())}
            self.wfile.write(reply(200, json.dumps(bill).encode()))
            return
        if not line:
            return  # the client gave up before it had sent the request
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = self.rfile.read(length)
        if len(body) < length:
            return
        prompt = json.loads(body)["messages"][-1]["content"]
        kind, plain = self.server.kind_of(prompt), honest(prompt)
        try:
            if kind in ENDLESS:
                self.send_endlessly(kind)
            elif kind in RAW:
                self.wfile.write(RAW[kind](json.dumps(plain).encode()))
            else:
                self.wfile.write(reply(200, json.dumps(CHANGED[kind](plain) if kind else plain).encode()))
        except OSError:
            pass  # the client had enough

    def send_endlessly(self, kind: str) -> None:
        """Sends until the client closes the connection."""
        status = 500 if kind == "endless error" else 200
        head = f"HTTP/1.1 {status} X\r\n{JSON}"
        self.wfile.write(head.encode() if kind == "endless header" else f"{head}\r\n".encode())
        part = b"X: y\r\n" * 10_000 if kind == "endless header" else b" " * (1 if kind == "slow" else MEGABYTE)
        while True:
            self.wfile.write(part)
            if kind == "slow":
                time.sleep(0.05)


@contextmanager
def hostile_server(seed: int) -> Iterator[str]:
    """A server in a process of its own; yields its address."""
    command = [sys.executable, __file__, "--serve", "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measure_memory(ended: threading.Event, peaks: list[int]) -> None:
    """Keeps the most memory that this process has had, in bytes, until the event."""
    process = psutil.Process()
    while not ended.wait(0.02):
        peaks[0] = max(peaks[0], process.memory_info().rss)


def run(inputs: int, seed: int, folder: Path, *, budget: float) -> dict[str, Any]:
    """Collects, checks what must hold, and returns the figures."""
    os.environ["HOSTILE_KEY"] = "any word"
    client.LONGEST_RETRY_AFTER_S, scheduler.FIRST_PAUSE_S = 0.01, 0.0
    examples = [Example(f"q{number}", f"question number {number}") for number in range(inputs)]
    with hostile_server(seed) as address:
        settings = {"model": "m", "base_url": f"{address}/v1", "key": "HOSTILE_KEY", "timeout_s": 2.0, "attempts": 3}
        limits = {"max_tokens": 8, "top_logprobs": 2, "concurrency": 32, "smoke_inputs": 0, "budget": budget}
        endpoint = Endpoint.model_validate(
            {**settings, **limits, "price": {"input": PRICE, "output": PRICE}, "refusals": []}
        )
        collect(examples[:1], endpoint, out=folder / "warm")  # what is loaded with the first request is idle memory
        idle = psutil.Process().memory_info().rss
        peaks, ended = [idle], threading.Event()
        watcher = threading.Thread(target=measure_memory, args=(ended, peaks))
        watcher.start()
        began = time.monotonic()
        try:
            done = collect(examples, endpoint, out=folder / "out")
        finally:
            seconds = time.monotonic() - began
            ended.set()
            watcher.join()
        bill = read_bill(address)
    return check(examples, done, budget) | {
        "seconds": round(seconds, 1),
        "requests": bill["requests"],
        "spent": round(done.outcome.spent, 3),
        "budget": budget,
        "billed by the server's true count": bill["billed"] * PRICE / 1e6,
        "memory above idle, MB": round((peaks[0] - idle) / MEGABYTE, 1),
    }


def read_bill(address: str) -> dict[str, int]:
    """What the server would bill."""
    import urllib.request

    with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own server
        bill: dict[str, int] = json.load(answer)
    return bill


def check(examples: list[Example], done: CollectResult, budget: float) -> dict[str, Any]:
    """Every input is in exactly one of the two files, and the budget is kept."""
    answered, failed = (
        [json.loads(line) for line in (done.folder / name).read_text().splitlines()] for name in (RESPONSES, FAILED)
    )
    ids = Counter(row["id"] for row in (*answered, *failed))
    assert ids == Counter(example.id for example in examples), "an input is neither answered nor listed"
    assert done.outcome.spent <= budget, (done.outcome.spent, budget)
    return {"inputs": len(examples), "answered": len(answered), "listed": len(failed)}


def main() -> None:
    """Runs the server or the check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=0.0, help="default: 0.12 for each input")
    parser.add_argument("--serve", action="store_true", help="only run the server")
    arguments = parser.parse_args()
    if arguments.serve:
        server = HostileServer(arguments.seed)
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
    print(f"seed {arguments.seed}, {len(KINDS)} kinds of replies")
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = run(
                arguments.inputs, arguments.seed, Path(folder), budget=arguments.budget or 0.12 * arguments.inputs
            )
        except GenerationError as error:
            sys.exit(f"stopped: {error}")
    for name, value in figures.items():
        print(f"  {name:<36} {value}")
    if figures["memory above idle, MB"] > MOST_MEMORY_MB:
        sys.exit(f"more than {MOST_MEMORY_MB} MB above idle")


if __name__ == "__main__":
    main()
