"""What the worker processes of a server count together: the cost of the teacher's endpoint, and the agreement with it.

It is an SQLite file, so that a worker that is killed loses nothing and a budget holds for all of them. As in an API
teacher's journal, a request counts at its maximum cost from before it is sent until its cost is known.
"""

import json
import logging
import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from understudy.errors import StoreError

LEDGER_LOG = logging.getLogger("understudy.ledger")
LOW_CHRF = 50.0
KEPT_LOW = 20
"""Pairs below `LOW_CHRF` of which the latest are listed."""
FEWEST_PAIRS = 30
"""Below it the mean's distribution is not near the normal one, so there is no interval."""
Z = NormalDist().inv_cdf(0.975)
LEDGER_SCHEMA = """
CREATE TABLE IF NOT EXISTS spending (one INTEGER PRIMARY KEY CHECK (one = 1), requests INTEGER, amount REAL);
INSERT OR IGNORE INTO spending VALUES (1, 0, 0);
CREATE TABLE IF NOT EXISTS agreement (student TEXT PRIMARY KEY, pairs INTEGER, exact INTEGER, chrf REAL, squared REAL);
CREATE TABLE IF NOT EXISTS low (number INTEGER PRIMARY KEY AUTOINCREMENT, student TEXT, id TEXT, chrf REAL, texts TEXT);
"""


@dataclass(frozen=True)
class PairAgreement:
    """How the student's texts agree with the teacher's for the same sources; scores are in percent."""

    pairs: int
    exact_match: float | None
    """None without pairs."""
    exact_match_interval: tuple[float, float] | None
    """Of 95 %, as Wilson's (1927): it is not empty where all pairs are equal."""
    chrf: float | None
    """Mean over pairs of the sentence-level chrF."""
    chrf_interval: tuple[float, float] | None
    """Of 95 %, normal; None below `FEWEST_PAIRS` pairs."""
    latest_low: tuple[Mapping[str, object], ...]
    """The latest pairs with a chrF below `LOW_CHRF`."""


class Ledger:
    """The counts in a file."""

    def __init__(self, path: Path | None, student: str) -> None:
        """Opens it, or creates it.

        Args:
            path: None keeps the counts in this process alone.
            student: key of the student, whose pairs are counted apart from those of others.

        Raises:
            StoreError: if the file cannot be used.
        """
        self._student = student
        try:
            if path is not None:
                path.touch(mode=0o600)  # it may hold texts
            # A wait for another process blocks the event loop.
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1, check_same_thread=False)
            # The system keeps what a killed process wrote; waiting for the disk would block the event loop too.
            self._db.execute("PRAGMA synchronous=OFF")
            with closing(self._db.cursor()) as cursor:
                cursor.executescript(LEDGER_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path} cannot be used: {error}; move it away, and the budget begins anew") from error

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def reserve(self, cost: float, *, budget: float | None, requests: int | None) -> bool:
        """Counts a request before it is sent; false if the budget, in money or requests, does not cover it."""
        changed = self._changed(
            "UPDATE spending SET requests = requests + 1, amount = amount + :cost "
            "WHERE (:budget IS NULL OR amount + :cost <= :budget) AND (:most IS NULL OR requests < :most)",
            {"cost": cost, "budget": budget, "most": requests},
        )
        return changed == 1

    def settle(self, reserved: float, cost: float) -> None:
        """Replaces the maximum cost of a request by its cost."""
        self._changed("UPDATE spending SET amount = max(0, amount + :more)", {"more": cost - reserved})

    def spent(self) -> tuple[int, float]:
        """Requests and their cost so far."""
        requests, amount = self._db.execute("SELECT requests, amount FROM spending").fetchone()
        return int(requests), float(amount)

    def add_pair(self, request_id: str, chrf: float, *, exact: bool, texts: Mapping[str, str] | None) -> None:
        """Counts a pair of answers; a low one is listed, with its texts if they are given."""
        low = chrf < LOW_CHRF
        values = {
            "student": self._student,
            "id": request_id,
            "exact": exact,
            "chrf": chrf,
            "squared": chrf * chrf,
            "texts": json.dumps(texts, ensure_ascii=False) if texts and low else None,
        }
        self._changed(
            "INSERT INTO agreement VALUES (:student, 1, :exact, :chrf, :squared) ON CONFLICT (student) DO UPDATE SET "
            "pairs = pairs + 1, exact = exact + :exact, chrf = chrf + :chrf, squared = squared + :squared",
            values,
        )
        if low:
            self._changed("INSERT INTO low (student, id, chrf, texts) VALUES (:student, :id, :chrf, :texts)", values)
            last = {"kept": KEPT_LOW}
            self._changed("DELETE FROM low WHERE number <= (SELECT max(number) FROM low) - :kept", last)

    def _changed(self, statement: str, values: Mapping[str, object]) -> int:
        """The number of rows that a statement changed: none where the file cannot be written, as the log says then."""
        try:
            return self._db.execute(statement, dict(values)).rowcount
        except sqlite3.Error as error:
            LEDGER_LOG.error("ERROR: the ledger cannot be written: %s", error)
            return 0

    def agreement(self) -> PairAgreement:
        """Of all pairs so far."""
        own = (self._student,)
        counted = self._db.execute("SELECT pairs, exact, chrf, squared FROM agreement WHERE student = ?", own)
        pairs, exact, total, squared = counted.fetchone() or (0, 0, 0.0, 0.0)
        listed = self._db.execute("SELECT id, chrf, texts FROM low WHERE student = ? ORDER BY number DESC", own)
        low = tuple(
            {"id": name, "chrf": round(chrf, 2), **(json.loads(texts) if texts else {})} for name, chrf, texts in listed
        )
        if not pairs:
            return PairAgreement(0, None, None, None, None, low)
        mean = total / pairs
        interval = None
        if pairs >= FEWEST_PAIRS:
            half = Z * math.sqrt(max(0.0, (squared - pairs * mean**2) / (pairs - 1)) / pairs)
            interval = max(0.0, mean - half), min(100.0, mean + half)
        return PairAgreement(pairs, 100 * exact / pairs, wilson(exact, pairs), mean, interval, low)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in percent.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    share, spread = successes / trials, Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)
