"""What `/metrics` reports, in Prometheus' format. Several worker processes add up through files in a folder."""

import math
import os
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from understudy.serving.ledger import Ledger

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which the library finds that folder, when it is imported."""
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SOURCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RECORDS_MEANING = "Records of texts by what became of them."
TENTHS = tuple(number / 10 for number in range(1, 11))

OF_SERVER = {
    "teacher_requests": "Requests to the teacher's endpoint that count for the budget.",
    "teacher_cost": "Their cost in the price's currency; requests in flight at their maximum.",
    "shadow_pairs": "Pairs of answers of student and teacher to one source.",
    "shadow_exact_match": "Share of equal pairs, in percent.",
    "shadow_chrf": "Mean chrF of the student's text against the teacher's.",
    "shadow_chrf_low": "Lower end of its 95 % interval.",
    "shadow_chrf_high": "Upper end of its 95 % interval.",
}
"""Gauge -> what it says of the whole server."""


class UpstreamMetrics:
    """What a server counts of the teacher's endpoint, and of answers by both systems."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("understudy_answers", "Answered sources by system.", ["by"], registry=registry)
        self.failures = Counter(
            "understudy_teacher_failures", "Sources without an answer of the teacher's.", ["reason"], registry=registry
        )
        self.seconds = Histogram(
            "understudy_teacher_seconds", "Time to the teacher's answer.", registry=registry, buckets=SECONDS
        )
        self.tokens = Counter(
            "understudy_teacher_tokens", "Tokens that the teacher's endpoint reported.", ["kind"], registry=registry
        )
        self.shadow_skipped = Counter(
            "understudy_shadow_skipped", "Requests of the share without a pair of answers.", registry=registry
        )
        # Of all processes together, so the value that was set last holds.
        self._of_server = {
            name: Gauge(f"understudy_{name}", text, registry=registry, multiprocess_mode="mostrecent")
            for name, text in OF_SERVER.items()
        }

    def read(self, ledger: Ledger) -> None:
        """Sets what the processes count together."""
        requests, cost = ledger.spent()
        found = ledger.agreement()
        low, high = found.chrf_interval or (math.nan, math.nan)
        values = {
            "teacher_requests": requests,
            "teacher_cost": cost,
            "shadow_pairs": found.pairs,
            "shadow_exact_match": found.exact_match,
            "shadow_chrf": found.chrf,
            "shadow_chrf_low": low,
            "shadow_chrf_high": high,
        }
        for name, value in values.items():
            self._of_server[name].set(math.nan if value is None else value)


class ServerMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self.registry = own = CollectorRegistry()
        self.requests = Counter("understudy_requests", "Requests by path and status.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "understudy_request_seconds", "Time to the answer, by path.", ["path"], registry=own, buckets=SECONDS
        )
        self.in_progress = Gauge(
            "understudy_requests_in_progress",
            "Requests without an answer yet.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.waiting = Gauge(
            "understudy_queue_sources", "Sources that wait for an engine.", registry=own, multiprocess_mode="livesum"
        )
        self.batch_sources = Histogram(
            "understudy_batch_sources", "Sources per call of an engine.", registry=own, buckets=SOURCES
        )
        self.source_tokens = Counter("understudy_source_tokens", "Tokens of sources.", registry=own)
        self.text_tokens = Counter("understudy_text_tokens", "Tokens of generated texts.", registry=own)
        self.confidence = Histogram(
            "understudy_confidence", "Probability per token of generated texts.", registry=own, buckets=TENTHS
        )
        self.records = Counter("understudy_records", RECORDS_MEANING, ["outcome"], registry=own)

        self.upstream = UpstreamMetrics(own)
        self.drift = Gauge(
            "understudy_drift",
            "Distance of recent requests from dev, from 0 to 1; the largest of any process.",
            ["quantity"],
            registry=own,
            multiprocess_mode="livemax",
        )
        self.drift_alarm = Gauge(
            "understudy_drift_alarm",
            "1 while that distance is above the limit.",
            ["quantity"],
            registry=own,
            multiprocess_mode="livemax",
        )

    def count_with(self, ledger: Ledger) -> None:
        """Has the page show what the processes count together."""
        self._ledger = ledger

    def called(self, sources: int, tokens: int) -> None:
        """Counts a call of an engine."""
        self.batch_sources.observe(sources)
        self.source_tokens.inc(tokens)

    def page(self) -> bytes:
        """The metrics of all processes."""
        if self._ledger is not None:
            self.upstream.read(self._ledger)
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:
            return generate_latest(self.registry)
        for pid in {int(path.stem.rpartition("_")[2]) for path in Path(folder).glob("gauge_live*.db")}:
            if not psutil.pid_exists(pid):  # of a killed worker
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class ProxyMetrics:
    """The metrics of a recording proxy."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("understudy_proxy_requests", "Requests by status.", ["status"], registry=own)
        self.seconds = Histogram(
            "understudy_proxy_request_seconds", "Time to the end of the response.", registry=own, buckets=SECONDS
        )
        self.in_flight = Gauge("understudy_proxy_in_flight", "Requests without a complete response.", registry=own)
        self.records = Counter("understudy_records", RECORDS_MEANING, ["outcome"], registry=own)
