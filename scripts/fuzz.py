"""Fuzzes what understudy reads: recipes, data files of all formats, journals, endpoint replies, store files.

    python scripts/fuzz.py                       # 20,000 cases, with a random seed that is printed
    python scripts/fuzz.py --cases 1000 --seed 7 --only recipes data
    python scripts/fuzz.py --run runs/demo       # damaged copies of a finished run too

Each case is valid input, or valid input with one labelled fault (see `fuzzing/oracle.py`). The first failure of a kind
of input is reduced to a small one and printed, and the exit code is 1.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from scripts.fuzzing import chats, data, journals, recipes, replies, runs, stores
from scripts.fuzzing.oracle import FAST_FOLDER, VALID, Case, Domain, verdict

DOMAINS = {
    own.name: own for own in (recipes.DOMAIN, data.DOMAIN, chats.DOMAIN, journals.DOMAIN, replies.DOMAIN, stores.DOMAIN)
}
WEIGHTS = {"recipes": 1, "data": 5, "chats": 4, "journals": 3, "replies": 4, "stores": 3, "runs": 1}
"""Shares of the cases: a recipe takes five times as long as a data file, because of YAML."""


def fuzz(domain: Domain, cases: int, seed: int) -> tuple[Counter[str], str]:
    """Runs cases of one kind of input.

    Returns:
        How often each fault occurred, and the reduced failure; empty if there was none.
    """
    seen: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(domain.cases)
    def run(case: Case) -> None:
        seen[case.fault] += 1
        with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
            verdict(case, Path(folder))

    try:
        run()
    except AssertionError as failure:
        return seen, str(failure)
    except ExceptionGroup as failures:  # a case near the time limit fails once and passes once
        return seen, "\n".join(map(str, failures.exceptions))
    return seen, ""


def fuzz_all(domains: Sequence[Domain], cases: int, seed: int) -> bool:
    """Runs cases of several kinds of input, and prints what happened.

    Returns:
        Whether there was a failure.
    """
    print(f"seed {seed}", flush=True)
    started, total, failed = time.monotonic(), 0, False
    weights = sum(WEIGHTS[domain.name] for domain in domains)
    for domain in domains:
        began = time.monotonic()
        seen, failure = fuzz(domain, -(-cases * WEIGHTS[domain.name] // weights), seed)
        total, failed = total + seen.total(), failed or bool(failure)
        print(
            f"{domain.name}: {seen.total()} cases ({seen[VALID]} valid, {len(seen.keys() - {VALID})} kinds of faults), "
            f"{time.monotonic() - began:.0f} s: {'FAILED' if failure else 'no failure'}",
            flush=True,
        )
        if failure:
            print(failure, flush=True)
    outcome = "failures above" if failed else "0 tracebacks, 0 hangs, 0 silent acceptances"
    print(f"{total} cases in {time.monotonic() - started:.0f} s: {outcome}", flush=True)
    return failed


def main() -> int:
    """Parses the arguments, and runs the cases."""
    parser = argparse.ArgumentParser(description="Fuzz what understudy reads.")
    parser.add_argument("--cases", type=int, default=20_000, help="number of cases, divided among the kinds of input")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="random by default")
    parser.add_argument("--run", type=Path, help="folder of a finished run, of which damaged copies are opened")
    parser.add_argument("--only", nargs="*", default=list(DOMAINS), choices=list(DOMAINS), help="kinds of input")
    wanted = parser.parse_args()
    domains = [DOMAINS[name] for name in wanted.only]
    if wanted.run:
        domains.append(runs.domain(wanted.run))
    return int(fuzz_all(domains, wanted.cases, wanted.seed))


if __name__ == "__main__":
    sys.exit(main())
