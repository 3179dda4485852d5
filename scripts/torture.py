"""Kills runs at random moments and damages their finished files; nothing may be lost, silent or a traceback.

    python scripts/torture.py --kills 300 --damages 200 --seed 1

A trial is one run in a fresh folder that is killed (SIGKILL, SIGTERM or SIGINT, after a random time or before a random
file operation) and started again until it completes. It must end with the student and the facts of the report of the
run that was not killed, without orphans, temporary files or unexpected output, and an API may be asked again only for
what was in flight. Then files of a finished run are damaged one at a time (`torture_damages`). The exit code is 1 if
anything failed. The seed decides all choices; where a kill after a time falls also depends on the machine's load.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", SOME_KEY="any word")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.torture_damages import damage_runs
from scripts.torture_forks import SERVERS, Ended, Kill, prepare, run_command

SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
"""Signal -> the exit code of a command that gets it."""
MOST_KILLS = 30
"""Of one trial, which then may finish."""
OPERATIONS = 400
SECONDS = 12.0
"""The most file operations and seconds before a kill; half of all kills come before the square root of them, so that
each stage of a run has its turn before the kills of a trial are used up."""
CHANGING = {"latency_ms", "throughput_per_s", "peak_memory_bytes", "seconds", "stages", "requests", "spent", "costs"}
"""Keys of the report's facts that time, or requests that were in flight, may change."""


@dataclass
class Outcome:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    requested_again: int = 0
    trials: int = 0
    failures: list[str] = field(default_factory=list)

    def expect(self, met: bool, what: str) -> None:
        """Records what was not as it must be."""
        if not met:
            self.failures.append(what)
            print("FAILED", what, flush=True)


@dataclass(frozen=True)
class Kind:
    """One of the two recipes."""

    name: str
    recipe: Path
    run: str
    requests: Path | None = None
    """The file in which the server notes each request."""

    def arguments(self, folder: Path) -> list[str]:
        """Of the command line."""
        return ["run", str(self.recipe), "--out", str(folder / "runs"), "--quiet"]


@contextmanager
def kinds(folder: Path) -> Iterator[list[Kind]]:
    """Both recipes, with a server in a process of its own."""
    from tests.api_teacher.server import RequestLog, handler
    from tests.conftest import TINY
    from tests.pipeline.api_teacher_recipe import recipe_of

    requests = folder / "requests.txt"
    requests.touch()

    class Log(RequestLog):
        def next_fault(self, prompt: str) -> str:
            with requests.open("a") as file:
                file.write(prompt + "\n")
            return super().next_fault(prompt)

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Log(share=0.0)))
    child = os.fork()
    if child == 0:
        os.close(2)  # it would print a traceback whenever a client is killed
        server.serve_forever()
    SERVERS.add(child)
    server.server_close()
    plain = {"local": TINY, "api": recipe_of(folder, f"http://127.0.0.1:{server.server_address[1]}/v1")}
    for name, recipe in plain.items():
        (folder / f"{name}.yaml").write_text(json.dumps(recipe))
    try:
        yield [
            Kind("local", folder / "local.yaml", TINY["name"]),
            Kind("api", folder / "api.yaml", plain["api"]["name"], requests),
        ]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def result_of(run: Path) -> dict[str, Any]:
    """The checksums of the delivered student, and the facts of the report without what time changes."""
    from understudy.store.disk import checksums

    return {"student": checksums((run / "student").resolve()), **settled(json.loads((run / "report.json").read_text()))}


def differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """The places at which two values differ."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        for key, part in found.items():
            yield from differences(part, expected[key], f"{where}/{key}")
    elif found != expected:
        yield f"{where} is {str(found)[:80]} instead of {str(expected)[:80]}"


def settled(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value without the keys that time changes."""
    if isinstance(value, dict):
        return {key: settled(part) for key, part in value.items() if key not in CHANGING}
    return [settled(part) for part in value] if isinstance(value, list) else value


def random_kill(chance: random.Random) -> Kill:
    """A kill at a random file operation, or after a random time."""
    number = chance.choice(list(SIGNALS))
    if chance.random() < 2 / 3:
        return Kill(number, operation=round(OPERATIONS ** chance.random()))
    return Kill(number, seconds=0.05 * (SECONDS / 0.05) ** chance.random())


def trial(kind: Kind, folder: Path, reference: Any, chance: random.Random, most: int, outcome: Outcome) -> int:  # noqa: ANN401 - bytes and facts
    """One run, killed until it completes; returns the number of kills."""
    killed = 0
    asked: set[str] = set()
    while True:
        kill = random_kill(chance) if killed < most else None
        before = _lines(kind.requests)
        ended = run_command(kind.arguments(folder), folder, kill=kill)
        again = [prompt for prompt in _lines(kind.requests)[len(before) :] if prompt in asked]
        outcome.requested_again += len(again)
        outcome.expect(len(again) <= 8, f"{kind.name}: {len(again)} inputs were requested again after one kill")
        asked |= set(_lines(kind.requests)[len(before) :])
        outcome.expect(not ended.orphans, f"{kind.name}: {kill} left {ended.orphans}")
        if kill is None or ended.code == 0:
            break
        killed += 1
        stage = stage_under_way(folder / "runs" / "store")
        outcome.kills[f"{kill.signal.name} {'at an operation' if kill.operation else 'after a time'}"] += 1
        outcome.stages[f"{kind.name} {stage}"] += 1
        expect_clean_end(kind, kill, ended, stage, outcome)
    outcome.expect(ended.code == 0, f"{kind.name}: the last attempt ended with {ended.code}: {ended.err[-600:]}")
    if ended.code == 0:
        other = ", ".join(differences(result_of(folder / "runs" / kind.run), reference))
        outcome.expect(not other, f"{kind.name}: another student or report: {other}")
    outcome.expect(
        not any((folder / "tmp").iterdir()), f"{kind.name}: temporary files {list((folder / 'tmp').iterdir())}"
    )
    return killed


def expect_clean_end(kind: Kind, kill: Kill, ended: Ended, stage: str, outcome: Outcome) -> None:
    """A killed command ends with its exit code, and says one sentence where it can."""
    where = f"{kind.name}, {kill}, in {stage}: code {ended.code}, {ended.err[-600:]!r}"
    outcome.expect(ended.code == SIGNALS[kill.signal], where)
    said = ended.err.strip()
    if kill.signal is signal.SIGKILL:
        outcome.expect(not said, where)
    else:
        outcome.expect(said.count("\n") == 0 and "run the same command again to resume" in said, where)


def stage_under_way(store: Path) -> str:
    """The name of the stage whose unfinished folder changed last."""
    partials = sorted(store.glob("*.partial"), key=lambda path: path.stat().st_mtime_ns)
    return partials[-1].name.rpartition("-")[0] if partials else "between stages"


def _lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path else []


def reference_of(kind: Kind, folder: Path) -> tuple[Any, list[str]]:
    """The result of a run that is not killed, and the modules that it imports."""
    ended = run_command(kind.arguments(folder), folder, modules=folder / "modules.txt")
    if ended.code:
        raise SystemExit(f"the run that is not killed failed: {ended.err}")
    return result_of(folder / "runs" / kind.run), (folder / "modules.txt").read_text().splitlines()


def main() -> None:
    """Runs both parts and prints a summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="random if left out; printed")
    parser.add_argument(
        "--work", type=Path, default=None, help="folder for the runs, which are kept; default: temporary"
    )
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    started, outcome = time.monotonic(), Outcome()
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        prepare(["understudy.cli.app", "understudy.pipeline.run", "understudy.pipeline.inspect.diagnose"])
        with kinds(work) as both:
            references = {}
            for kind in both:
                references[kind.name], modules = reference_of(kind, work / f"reference-{kind.name}")
                prepare(modules)
            kill_runs(both, references, work, chosen.kills, seed, outcome)
            damages = damage_runs(
                {kind.name: (work / f"reference-{kind.name}", kind.recipe, kind.run) for kind in both},
                work / "damaged",
                chosen.damages,
                seed,
                outcome.expect,
            )
    print(f"{sum(outcome.kills.values())} kills in {outcome.trials} runs, seed {seed}: {dict(outcome.kills)}")
    print(f"stages under way: {dict(outcome.stages.most_common())}")
    print(f"requests sent again after a kill: {outcome.requested_again}")
    print(f"{sum(damages.values())} damages: {dict(damages)}")
    print(f"{len(outcome.failures)} failures in {time.monotonic() - started:.0f} s")
    sys.exit(bool(outcome.failures))


def kill_runs(
    both: list[Kind], references: dict[str, Any], work: Path, kills: int, seed: int, outcome: Outcome
) -> None:
    """Trials of both kinds in turn, until there were enough kills."""
    done = 0
    while done < kills:
        kind, folder = both[outcome.trials % len(both)], work / f"trial-{outcome.trials}"
        chance = random.Random(f"{seed} {outcome.trials}")
        most = min(MOST_KILLS, -(-kills // 2) if outcome.trials == 0 else kills - done)
        own = trial(kind, folder, references[kind.name], chance, most, outcome)
        done += own
        outcome.trials += 1
        print(f"run {outcome.trials} ({kind.name}): {own} kills, {done} of {kills}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
