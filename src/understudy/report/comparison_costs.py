"""What systems cost to run, under the names that requirements use: read from a report, and formatted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from understudy.report.facts import TEACHER, Facts, SystemFacts
from understudy.report.formatting import data_size, money, parameters, rounded


@dataclass(frozen=True, slots=True)
class CostMeasure:
    """One number of a system that a report has without an interval."""

    label: str
    read: Callable[[Facts, SystemFacts], float | None]
    shown: Callable[[float], str]
    higher_is_better: bool = False
    depends_on_machine: bool = True


def _latency(facts: Facts, system: SystemFacts, quantile: str) -> float | None:
    latency = system["latency_ms"]
    if system["name"] == TEACHER and "api_responses" in facts:
        latency = facts["api_responses"].get("latency_ms", latency)
    return latency["p50"] if quantile == "p50" else latency["p95"]


COST_MEASURES: Mapping[str, CostMeasure] = {
    "parameters": CostMeasure(
        "Parameters", lambda _, own: own["parameters"], lambda n: parameters(int(n)), depends_on_machine=False
    ),
    "disk_bytes": CostMeasure(
        "On disk", lambda _, own: own["disk_bytes"], lambda n: data_size(int(n)), depends_on_machine=False
    ),
    "latency_p50": CostMeasure("Latency p50", lambda all_, own: _latency(all_, own, "p50"), lambda n: rounded(n, "ms")),
    "latency_p95": CostMeasure("Latency p95", lambda all_, own: _latency(all_, own, "p95"), lambda n: rounded(n, "ms")),
    "throughput": CostMeasure(
        "Throughput", lambda _, own: own["throughput_per_s"], lambda n: rounded(n, "/s"), higher_is_better=True
    ),
    "peak_memory_bytes": CostMeasure(
        "Peak memory", lambda _, own: own["peak_memory_bytes"], lambda n: data_size(int(n))
    ),
    "cost_per_1000": CostMeasure(
        "1,000 requests", lambda all_, own: all_.get("costs", {}).get("per_1000", {}).get(own["name"]), money
    ),
}
"""Name in requirements -> the measure; latency is in milliseconds, throughput in outputs per second."""
