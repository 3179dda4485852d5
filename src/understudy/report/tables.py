"""The tables of a report: quality, costs, training, stages, pool. The page shows them as HTML; documents use Markdown.

A cell is a value with an optional detail, such as its interval. Cells are plain text; nothing is escaped here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.report.content_facts import Interval
from understudy.report.facts import (
    NOT_MEASURED,
    TEACHER,
    CurvePoint,
    Facts,
    PoolFacts,
    ScoreFacts,
    SystemFacts,
    higher_is_better,
    metrics_of,
    score_of,
)
from understudy.report.formatting import (
    UNKNOWN,
    brackets,
    data_size,
    decimal_places,
    duration,
    fixed,
    join_nonempty,
    metric_heading,
    money,
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
    """The share of the gap that the distilled student closes, and the scores of each system, one row per metric.

    Metrics are rows, so that a task with many metrics fits a page; the share of the gap is first, so that it is seen
    where little fits.
    """
    systems, compared = facts["systems"], bool(facts["gap_closed"])
    gap, advantage = ("Gap closed",) if compared else (), ("Advantage over fine-tuned",) if compared else ()
    rows = []
    for metric in metrics_of(facts):
        places = decimal_places(facts, metric)
        difference = facts.get("differences", {}).get(metric, NOT_MEASURED)
        rows.append(
            (
                TextCell(metric_heading(facts, metric)),
                *((_gap_cell(facts["gap_closed"].get(metric, NOT_MEASURED)),) if compared else ()),
                *(_score_cell(score_of(system, metric), places) for system in systems),
                *((_difference_cell(difference, places),) if compared else ()),
            )
        )
    return TextTable(
        ("Metric", *gap, *(system_label(system["name"]) for system in systems), *advantage),
        tuple(rows) if systems else (),
    )


def gap_notes(facts: Facts) -> list[str]:
    """Why metrics have no share of the gap, each a sentence."""
    return list(dict.fromkeys(note for metric in metrics_of(facts) if (note := _note(facts, metric))))


def costs_table(facts: Facts) -> TextTable:
    """What each system costs to run: price where prices are known, size, latency, throughput and memory."""
    price = ("1,000 requests",) if "costs" in facts else ()
    return TextTable(
        ("System", *price, "Parameters", "On disk", "Latency p50", "Latency p95", "Throughput", "Peak memory"),
        tuple((TextCell(system_label(system["name"])), *_cost_cells(facts, system)) for system in facts["systems"]),
    )


def training_table(facts: Facts) -> TextTable:
    """How each system was trained: steps, time, and its first, best and last score on dev."""
    heading = metric_heading(facts, facts["primary_metric"])
    head = ("System", "Steps", "Time", f"Dev {heading}: first", "best", "at step", "last", "Last loss, nats")
    rows = (_training_row(facts, name, points) for name, points in facts.get("curves", {}).items() if points)
    return TextTable(head, tuple(rows))


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
        ("Reasoning removed from texts", whole(pool.get("reasoned"))),
        ("Texts that were only reasoning, not used", whole(pool.get("only_reasoned"))),
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
    """Quality and costs as GitHub-flavoured Markdown tables, for a document of results."""
    tables = (quality_table(facts), costs_table(facts))
    parts = [markdown(table) for table in tables if table.rows]
    if notes := gap_notes(facts):
        parts.insert(1, "".join(f"- {_escaped(note)}\n" for note in notes))
    return "\n".join(parts)


def markdown(table: TextTable) -> str:
    """A table in GitHub-flavoured Markdown."""
    lines = [table.head, ("---", *("---:" for _ in table.head[1:]))]
    lines += [tuple(join_nonempty(*cell) for cell in row) for row in table.rows]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _cost_cells(facts: Facts, system: SystemFacts) -> tuple[TextCell, ...]:
    prices, latency = facts.get("costs", {}).get("per_1000", {}), system["latency_ms"]
    if system["name"] == TEACHER and "api_responses" in facts:
        latency = facts["api_responses"].get("latency_ms", latency)
    return (
        *((TextCell(money(prices.get(system["name"]))),) if "costs" in facts else ()),
        TextCell(parameters(system["parameters"])),
        TextCell(data_size(system["disk_bytes"])),
        TextCell(rounded(latency["p50"], "ms")),
        TextCell(rounded(latency["p95"], "ms")),
        TextCell(rounded(system["throughput_per_s"], "/s")),
        TextCell(data_size(system["peak_memory_bytes"])),
    )


def _training_row(facts: Facts, name: str, points: Sequence[CurvePoint]) -> tuple[TextCell, ...]:
    metric = facts["primary_metric"]
    places, better = decimal_places(facts, metric), max if higher_is_better(facts, metric) else min
    dev = [(point["step"], point["dev"][metric]) for point in points if metric in point.get("dev", {})]
    losses = [loss for point in points if (loss := point.get("train_loss")) is not None]
    best, seconds = better(dev, key=lambda own: own[1], default=None), points[-1].get("seconds")
    return (
        TextCell(system_label(name)),
        TextCell(whole(points[-1]["step"])),
        TextCell(UNKNOWN if seconds is None else duration(seconds)),
        TextCell(fixed(dev[0][1] if dev else None, places)),
        TextCell(fixed(best and best[1], places)),
        TextCell(whole(best and best[0])),
        TextCell(fixed(dev[-1][1] if dev else None, places)),
        TextCell(fixed(losses[-1] if losses else None, 2)),
    )


def _score_cell(score: ScoreFacts | None, places: int) -> TextCell:
    return TextCell(fixed(score["value"], places), brackets(score, places=places)) if score else TextCell(UNKNOWN)


def _difference_cell(difference: Interval, places: int) -> TextCell:
    return TextCell(signed(difference["value"], places), brackets(difference, places=places))


def _gap_cell(gap: Interval) -> TextCell:
    return TextCell(percent(gap["value"]), brackets(gap, scale=100, places=0))


def _note(facts: Facts, metric: str) -> str:
    note = facts["gap_closed"].get(metric, NOT_MEASURED).get("note", "")
    return f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else ""


def _pairs(name: str, value: str, rows: Sequence[tuple[str, str]]) -> TextTable:
    return TextTable((name, value), tuple((TextCell(first), TextCell(second)) for first, second in rows))


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
