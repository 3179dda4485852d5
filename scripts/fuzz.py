"""Fuzzes what understudy reads: recipes, data files of all formats, journals, endpoint replies, store files.

    python scripts/fuzz.py                       # 20,000 cases, with a random seed that is printed
    python scripts/fuzz.py --cases 1000 --seed 7 --only recipes data

Each case is valid input, or valid input with one labelled fault (see `fuzzing/oracle.py`). The first failure of a kind
of input is reduced to a small one and printed, and the exit code is 1.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from scripts.fuzzing import chats, data, journals, recipes, stores
from scripts.fuzzing.oracle import FAST_FOLDER, VALID, Case, Domain, verdict

DOMAINS: dict[str, Domain] = {
    domain.name: domain for domain in (recipes.DOMAIN, data.DOMAIN, chats.DOMAIN, journals.DOMAIN, stores.DOMAIN)
}


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


def main() -> int:
    """Parses the arguments, runs all kinds of input, prints what happened."""
    parser = argparse.ArgumentParser(description="Fuzz what understudy reads.")
    parser.add_argument("--cases", type=int, default=20_000, help="number of cases, divided among the kinds of input")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="random by default")
    parser.add_argument("--only", nargs="*", default=list(DOMAINS), choices=list(DOMAINS), help="kinds of input")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    failed, total = False, 0
    for name in wanted.only:
        started = time.monotonic()
        seen, failure = fuzz(DOMAINS[name], wanted.cases // len(wanted.only), wanted.seed)
        total += seen.total()
        print(
            f"{name}: {seen.total()} cases ({seen[VALID]} valid, {len(seen) - (VALID in seen)} kinds of faults), "
            f"{time.monotonic() - started:.0f} s: {'FAILED' if failure else 'no failure'}",
            flush=True,
        )
        if failure:
            failed = True
            print(failure)
    print(f"{total} cases: {'failures above' if failed else '0 tracebacks, 0 hangs, 0 silent acceptances'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
