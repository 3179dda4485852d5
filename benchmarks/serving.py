"""Load on a served student: throughput, latency, overload and memory.

    python benchmarks/serving.py runs/demo --json serving.json
    python -m understudy run benchmarks/student_20m.yaml && python benchmarks/serving.py runs/student-20m

Parts (`--parts`):
  rates     requests per second and latency of three servers, measured in turn: batching, one source at a time, and the
            teacher with batching. Medians over rounds. The clients share the CPUs with the server.
  overload  requests at four times the highest measured rate, for a server whose queue is what it answers in half of
            the deadline.
  memory    of all processes of the server after 1,000 requests, and at the end.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.load_client import closed_loop, http_request, open_loop
from scripts.server_process import server_process

from understudy.evaluation.predictions import read_predictions
from understudy.generation.engine import allowed_threads
from understudy.pipeline.inspect.open import open_run

SYSTEMS = {
    "batching": (),
    "one at a time": ("--limit", "batch_tokens=1"),
    "teacher, batching": ("--system", "teacher"),
    "two engines": ("--engines", "2"),
    "two workers": ("--workers", "2"),
}
"""Name -> options of the server."""
PATIENT = ("--limit", "timeout_s=600", "--limit", "queue=1024")
"""Limits with which no request is refused while rates are measured."""
DEFAULT_SYSTEMS = list(SYSTEMS)[:3]
PACKAGES = ("understudy", "ctranslate2", "fastapi", "uvicorn", "httptools", "uvloop")
PATH = "/v1/completions"
OVERLOAD = 4
FIRST_REQUESTS = 1000


@dataclass(frozen=True)
class Rate:
    """A server with so many clients; medians over the rounds."""

    system: str
    clients: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    """Time on CPUs of the server's processes, for each request."""


def rates(given: argparse.Namespace, requests: list[bytes]) -> dict[str, object]:
    """Throughput and latency of each system, in turn."""
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    with ExitStack() as servers:
        running = {
            name: servers.enter_context(server_process(given.run, *SYSTEMS[name], *PATIENT)) for name in given.systems
        }
        for server in running.values():
            asyncio.run(closed_loop(server.port, requests, clients=8, count=64))
        for clients in [clients for _ in range(given.rounds) for clients in given.clients]:
            for name, server in running.items():
                before = server.cpu_seconds()
                load = asyncio.run(closed_loop(server.port, requests, clients=clients, seconds=given.seconds))
                assert set(load.statuses) == {200}, load.statuses
                cpu_ms = 1000 * (server.cpu_seconds() - before) / len(load.replies)
                measured = (load.rate, *load.milliseconds(0.5, 0.95, 0.99), cpu_ms)
                found.setdefault((name, clients), []).append(measured)
    table = [
        Rate(name, clients, *(round(median(column), 1) for column in zip(*rounds, strict=True)))
        for (name, clients), rounds in sorted(found.items(), key=lambda one: list(SYSTEMS).index(one[0][0]))
    ]
    print("| server | clients | requests/s | p50 ms | p95 ms | p99 ms | CPU ms per request |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in table:
        print(f"| {' | '.join(map(str, asdict(row).values()))} |")
    print()
    return {"table": [asdict(row) for row in table], "ratios": _ratios(given, found)}


def _ratios(given: argparse.Namespace, found: dict[tuple[str, int], list[tuple[float, ...]]]) -> dict[str, float]:
    """The median over the rounds of the rate of batching, divided by that of each other system."""
    ratios = {}
    for name in given.systems[1:]:
        for clients in given.clients:
            pairs = zip(found[given.systems[0], clients], found[name, clients], strict=True)
            ratios[f"{given.systems[0]} / {name}, {clients} clients"] = round(median(a[0] / b[0] for a, b in pairs), 2)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio}")
    print()
    return ratios


def overload(given: argparse.Namespace, requests: list[bytes]) -> dict[str, object]:
    """Four times the requests that the server can answer."""
    with server_process(given.run) as server:
        asyncio.run(closed_loop(server.port, requests, clients=8, count=64))
        capacity = asyncio.run(closed_loop(server.port, requests, clients=64, seconds=given.seconds)).rate
    queue = max(1, int(capacity * given.deadline / 2))
    limits = ("--limit", f"queue={queue}", "--limit", f"timeout_s={given.deadline}")
    with server_process(given.run, *limits) as server:
        asyncio.run(closed_loop(server.port, requests, clients=8, count=64))
        load = asyncio.run(
            open_loop(server.port, requests, rate=OVERLOAD * capacity, seconds=given.seconds * given.rounds)
        )
    p50, p99 = load.milliseconds(0.5, 0.99)
    offered = len(load.replies) / load.seconds
    print(f"overload: {capacity:.0f} requests/s with 64 clients; {offered:.0f}/s sent to a queue of {queue}")
    print(f"  statuses {load.statuses}; accepted: {load.rate:.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    held = p99 <= 1000 * given.deadline and set(load.statuses) <= {200, 429}
    print(f"  p99 within {given.deadline:g} s and the rest 429: {'yes' if held else 'NO'}\n")
    return {
        "capacity": capacity,
        "offered": offered,
        "queue": queue,
        "statuses": load.statuses,
        "p50_ms": p50,
        "p99_ms": p99,
        "held": held,
    }


def memory(given: argparse.Namespace, requests: list[bytes]) -> dict[str, object]:
    """Resident memory early and late."""
    with server_process(given.run) as server:
        asyncio.run(closed_loop(server.port, requests, clients=64, count=FIRST_REQUESTS))
        early = server.memory()
        asyncio.run(closed_loop(server.port, requests, clients=64, count=max(1, given.requests - FIRST_REQUESTS)))
        late = server.memory()
    print(
        f"memory: {early / 1e6:.0f} MB after {FIRST_REQUESTS:,} requests, {late / 1e6:.0f} MB after "
        f"{given.requests:,}: x {late / early:.3f}\n"
    )
    return {"early_bytes": early, "late_bytes": late, "ratio": late / early}


def signature(given: argparse.Namespace) -> dict[str, object]:
    """What the numbers depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    run = open_run(given.run)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "run": run.recipe.name,
        "student": run.stage(run.facts["method"]).name,
        "machine": {
            "cpu": models[0].partition(": ")[2] if models else platform.processor(),
            "cores": allowed_threads(),
            "load": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **versions},
        "settings": {name: str(value) for name, value in vars(given).items()},
    }


PARTS = {"rates": rates, "overload": overload, "memory": memory}


def main() -> None:
    """Prints the measurements, and writes them with what they depend on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=DEFAULT_SYSTEMS, help="ratios are to the first"
    )
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds, for the overload")
    parser.add_argument("--json", type=Path, help="file of the measurements")
    given = parser.parse_args()
    run = open_run(given.run)
    predictions = read_predictions(run.predictions(run.facts["method"]) / "test.jsonl")
    requests = [http_request(PATH, {"model": run.recipe.name, "prompt": one.source}) for one in predictions]
    own = signature(given)
    print(json.dumps(own), end="\n\n")
    found = {part: PARTS[part](given, requests) for part in given.parts}
    if given.json:
        given.json.write_text(json.dumps({"signature": own, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
