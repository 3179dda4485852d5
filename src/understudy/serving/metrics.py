"""What `/metrics` reports, in Prometheus' format. Several worker processes add up through files in a folder."""

import os
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which the library finds that folder, when it is imported."""
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SOURCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RECORDS_MEANING = "Records of texts by what became of them."
TENTHS = tuple(number / 10 for number in range(1, 11))


class ServerMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
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

    def called(self, sources: int, tokens: int) -> None:
        """Counts a call of an engine."""
        self.batch_sources.observe(sources)
        self.source_tokens.inc(tokens)

    def page(self) -> bytes:
        """The metrics of all processes."""
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
