"""The tables of a report: systems, gap, stages, pool. The page shows them as HTML; documents use Markdown.

A cell is a value with an optional detail, such as its interval. Cells are plain text; nothing is escaped here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.report.facts import (
    FINE_TUNED,
    NOT_MEASURED,
    TEACHER,
    Facts,
    Interval,
    PoolFacts,
    ScoreFacts,
    SystemFacts,
    metric_label,
    metrics_of,
    score_of,
    scores_in,
    system_named,
)
from understudy.report.formatting import (
    UNKNOWN,
    brackets,
    data_size,
    decimal_places,
    duration,
    fixed,
    join_nonempty,
    parameters,
    percent,
    rounded,
    signed,
    system_label,
    whole,
)

ALIGNMENTS = {
    "exact": "same token for teacher and student",
    "merged": "log-probabilities of several teacher tokens merged",
    "text": "text only, no log-probabilities",
}
"""How the API log-probabilities of a target position map onto student tokens."""


class TextCell(NamedTuple):
    """A value and a detail shown below it in small print."""

    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TextTable:
    """Column heads and rows; the first cell of a row is its head."""

    head: tuple[str, ...]
    rows: tuple[tuple[TextCell, ...], ...]


def quality_table(facts: Facts) -> TextTable:
    """The scores of each system, one row per system."""
    metrics = metrics_of(facts)
    return TextTable(
        ("System", *(metric_label(facts, metric) for metric in metrics)),
        tuple(
            (
                TextCell(system_label(system["name"])),
                *(_score_cell(score_of(system, metric), decimal_places(facts, metric)) for metric in metrics),
            )
            for system in facts["systems"]
        ),
    )


def lower_is_better(facts: Facts) -> list[str]:
    """The labels of the metrics in which lower scores are better."""
    return [
        metric_label(facts, metric)
        for metric in metrics_of(facts)
        if not all(score["higher_is_better"] for score in scores_in(facts, metric))
    ]


def costs_table(facts: Facts) -> TextTable:
    """Size, latency, throughput and memory of each system, separate from the scores so that both fit the page."""
    return TextTable(
        ("System", "Parameters", "On disk", "Latency p50", "Latency p95", "Throughput", "Peak memory"),
        tuple((TextCell(system_label(system["name"])), *_cost_cells(system)) for system in facts["systems"]),
    )


def gap_table(facts: Facts) -> TextTable:
    """The share of the gap that the distilled student closes, one row per metric."""
    names = (FINE_TUNED, facts["method"], TEACHER)
    return TextTable(
        ("Metric", *map(system_label, names), "Advantage over fine-tuned", "Gap closed"),
        tuple(
            (
                TextCell(metric_label(facts, metric)),
                *(TextCell(_score_of(facts, name, metric).value) for name in names),
                _difference_cell(facts.get("differences", {}).get(metric, NOT_MEASURED), decimal_places(facts, metric)),
                _gap_cell(facts["gap_closed"][metric]),
            )
            for metric in metrics_of(facts)
            if metric in facts["gap_closed"]
        ),
    )


def stages_table(facts: Facts) -> TextTable:
    """The duration and the cache key of each stage of the run."""
    stages = facts.get("stages", [])
    spent = sum(stage["seconds"] for stage in stages if not stage["reused"])
    rows = [
        (
            TextCell(stage["name"]),
            TextCell(duration(stage["seconds"])),
            TextCell("reused from an earlier run" if stage["reused"] else "computed in this run"),
            TextCell(stage["key"]),
        )
        for stage in stages
    ]
    total = (TextCell("total of this run"), TextCell(duration(spent)), TextCell(""), TextCell(""))
    return TextTable(("Stage", "Time", "Result", "Key"), (*rows, total) if rows else ())


def data_table(facts: Facts) -> TextTable:
    """The number of examples in each split."""
    return _pairs("Split", "Examples", [(name, whole(size)) for name, size in facts.get("data", {}).items()])


def pool_table(pool: PoolFacts) -> TextTable:
    """The statistics of the pool of pseudo-targets; rows without a value are left out."""
    lengths = pool.get("lengths")
    rows = [
        ("Texts", whole(pool.get("texts"))),
        ("Inputs", whole(pool.get("inputs"))),
        ("Texts per input", rounded(pool.get("per_input"))),
        ("Duplicates of another text of the same input", percent(pool.get("duplicates"), 1)),
        ("Distinct texts", percent(pool.get("distinct"), 1)),
        ("Truncated by the length limit", percent(pool.get("unfinished"), 2)),
        ("Log-probability per token, nats", fixed(pool.get("logprob_per_token"), 2)),
        ("Tokens per text, mean", rounded(lengths and lengths["mean"])),
    ]
    return _pairs("Pseudo-targets", "", [(name, value) for name, value in rows if value != UNKNOWN])


def api_responses_table(facts: Facts) -> TextTable:
    """Requests to an API teacher, the responses that were rejected and why, and the cost."""
    if "api_responses" not in facts:
        return TextTable(("API responses", ""), ())
    api = facts["api_responses"]
    rows = [
        ("Model", api["model"]),
        ("Inputs", whole(api["inputs"])),
        ("Requests", whole(api["requests"])),
        ("Cost, in the currency of the price", UNKNOWN if api["spent"] is None else fixed(api["spent"], 4)),
        ("Texts used as pseudo-targets", whole(api["texts"])),
        ("With log-probabilities", whole(api["with_logprobs"])),
        *((f"Responses rejected: {why}", whole(count)) for why, count in api["rejected"].items()),
        *((f"Inputs failed: {why}", whole(count)) for why, count in api["failed"].items()),
        *((f"Inputs of {split} without a reference", whole(n)) for split, n in api["without_reference"].items() if n),
        ("Texts over the student's length limits", whole(api["too_long"])),
        *(
            (f"Target positions, {ALIGNMENTS[kind]}", percent(share, 1))
            for kind, share in api.get("logprob_alignment", {}).items()
        ),
    ]
    return _pairs("API responses", "", [(name, value) for name, value in rows if value != UNKNOWN])


def markdown_tables(facts: Facts) -> str:
    """Quality, costs and gap as GitHub-flavoured Markdown tables, for a document of results."""
    tables = (quality_table(facts), costs_table(facts), gap_table(facts))
    return "\n".join(markdown(table) for table in tables if table.rows)


def markdown(table: TextTable) -> str:
    """A table in GitHub-flavoured Markdown."""
    lines = [table.head, ("---", *("---:" for _ in table.head[1:]))]
    lines += [tuple(join_nonempty(*cell) for cell in row) for row in table.rows]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _cost_cells(system: SystemFacts) -> tuple[TextCell, ...]:
    return (
        TextCell(parameters(system["parameters"])),
        TextCell(data_size(system["disk_bytes"])),
        TextCell(rounded(system["latency_ms"]["p50"], "ms")),
        TextCell(rounded(system["latency_ms"]["p95"], "ms")),
        TextCell(rounded(system["throughput_per_s"], "/s")),
        TextCell(data_size(system["peak_memory_bytes"])),
    )


def _score_of(facts: Facts, name: str, metric: str) -> TextCell:
    return _score_cell(score_of(system_named(facts, name), metric), decimal_places(facts, metric))


def _score_cell(score: ScoreFacts | None, places: int) -> TextCell:
    return TextCell(fixed(score["value"], places), brackets(score, places=places)) if score else TextCell(UNKNOWN)


def _difference_cell(difference: Interval, places: int) -> TextCell:
    return TextCell(signed(difference["value"], places), brackets(difference, places=places))


def _gap_cell(gap: Interval) -> TextCell:
    return TextCell(percent(gap["value"]), join_nonempty(brackets(gap, scale=100, places=0), gap.get("note")))


def _pairs(name: str, value: str, rows: Sequence[tuple[str, str]]) -> TextTable:
    return TextTable((name, value), tuple((TextCell(first), TextCell(second)) for first, second in rows))


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
