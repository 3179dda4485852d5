"""The tables of a report: systems, gap, stages, pool. Made once, shown as HTML by the page or as Markdown.

A cell is a value with an optional detail, such as its interval; all text, nothing escaped yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.report.facts import (
    FINE_TUNED,
    NOTHING,
    TEACHER,
    Facts,
    Interval,
    ScoreFacts,
    System,
    metrics_of,
    score_of,
    system_named,
)
from understudy.report.wording import (
    UNKNOWN,
    brackets,
    data_size,
    duration,
    fixed,
    max_positions,
    metric_label,
    parameters,
    percent,
    rounded,
    signed,
    system_label,
    whole,
)

ALIGNED = {
    "exact": "the teacher's token is the student's",
    "merged": "probability from several of the teacher's tokens",
    "text": "text alone",
}
"""How much of an endpoint's log-probabilities could be told of the student's tokens."""


class Cell(NamedTuple):
    """A value and what is said below it in small print."""

    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A head and rows; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def quality_table(facts: Facts) -> Table:
    """The scores of each system, one row per system."""
    metrics = metrics_of(facts)
    return Table(
        ("System", *(metric_label(metric) for metric in metrics)),
        tuple(
            (
                Cell(system_label(system["name"])),
                *(_score(score_of(system, metric), max_positions(facts, metric)) for metric in metrics),
            )
            for system in facts["systems"]
        ),
    )


def costs_table(facts: Facts) -> Table:
    """What each system costs to run; a table of its own, for beside many metrics a page has no room for it."""
    return Table(
        ("System", "Parameters", "On disk", "Latency p50", "Latency p95", "Throughput", "Peak memory"),
        tuple((Cell(system_label(system["name"])), *_costs(system)) for system in facts["systems"]),
    )


def gap_table(facts: Facts) -> Table:
    """Where the distilled student stands between the fine-tuned one and the teacher, one row per metric."""
    names = (FINE_TUNED, facts["method"], TEACHER)
    return Table(
        ("Metric", *map(system_label, names), "Advantage over fine-tuned", "Gap closed"),
        tuple(
            (
                Cell(metric_label(metric)),
                *(
                    Cell(_score(score_of(system_named(facts, name), metric), max_positions(facts, metric)).value)
                    for name in names
                ),
                _advantage(facts.get("differences", {}).get(metric, NOTHING), max_positions(facts, metric)),
                _gap(facts["gap_closed"][metric]),
            )
            for metric in metrics_of(facts)
            if metric in facts["gap_closed"]
        ),
    )


def stages_table(facts: Facts) -> Table:
    """What each stage of the run cost, and the key under which its result is kept."""
    stages = facts.get("stages", [])
    spent = sum(stage["seconds"] for stage in stages if not stage["reused"])
    rows = [
        (
            Cell(stage["name"]),
            Cell(duration(stage["seconds"])),
            Cell("reused from an earlier run" if stage["reused"] else "made in this run"),
            Cell(stage["key"]),
        )
        for stage in stages
    ]
    total = (Cell("spent in this run"), Cell(duration(spent)), Cell(""), Cell(""))
    return Table(("Stage", "Time", "Result", "Key"), (*rows, total) if rows else ())


def data_table(facts: Facts) -> Table:
    """How many examples each split has."""
    return _pairs("Split", "Examples", [(name, whole(size)) for name, size in facts.get("data", {}).items()])


def pool_table(facts: Facts) -> Table:
    """What the pool of pseudo-targets holds, as far as it was counted."""
    pool = facts.get("pool", {})
    lengths = pool.get("lengths")
    rows = [
        ("TokenArrays", whole(pool.get("texts"))),
        ("Inputs", whole(pool.get("inputs"))),
        ("TokenArrays per input", rounded(pool.get("per_input"))),
        ("Repeat another text of their input", percent(pool.get("duplicates"), 1)),
        ("Distinct among all texts", percent(pool.get("distinct"), 1)),
        ("Cut by the length limit", percent(pool.get("unfinished"), 2)),
        ("Log-probability per token, nats", fixed(pool.get("logprob_per_token"), 2)),
        ("Tokens per text, mean", rounded(lengths and lengths["mean"])),
    ]
    return _pairs("Pseudo-targets", "", [(name, value) for name, value in rows if value != UNKNOWN])


def bought_table(facts: Facts) -> Table:
    """What a teacher behind an endpoint was asked for, what was filtered and why, and what it cost."""
    if "bought" not in facts:
        return Table(("Bought", ""), ())
    bought = facts["bought"]
    rows = [
        ("Model", bought["model"]),
        ("Inputs asked about", whole(bought["inputs"])),
        ("Requests sent", whole(bought["requests"])),
        ("Spent, in the currency of the price", UNKNOWN if bought["spent"] is None else fixed(bought["spent"], 4)),
        ("TokenArrays that became pseudo-targets", whole(bought["texts"])),
        ("With log-probabilities", whole(bought["with_logprobs"])),
        *((f"Answers rejected: {why}", whole(count)) for why, count in bought["rejected"].items()),
        *((f"Inputs that failed: {why}", whole(count)) for why, count in bought["failed"].items()),
        *((f"Inputs of {split} without a reference", whole(n)) for split, n in bought["left_out"].items() if n),
        ("TokenArrays over the student's limits", whole(bought["too_long"])),
        *((f"Target positions, {ALIGNED[how]}", percent(share, 1)) for how, share in bought.get("aligned", {}).items()),
    ]
    return _pairs("Bought", "", [(name, value) for name, value in rows if value != UNKNOWN])


def markdown_table(facts: Facts) -> str:
    """Quality, costs and gap as GitHub-flavoured Markdown tables, for a document of results."""
    tables = (quality_table(facts), costs_table(facts), gap_table(facts))
    return "\n".join(_markdown(table) for table in tables if table.rows)


def _costs(system: System) -> tuple[Cell, ...]:
    return (
        Cell(parameters(system["parameters"])),
        Cell(data_size(system["disk_bytes"])),
        Cell(rounded(system["latency_ms"]["p50"], "ms")),
        Cell(rounded(system["latency_ms"]["p95"], "ms")),
        Cell(rounded(system["throughput_per_s"], "/s")),
        Cell(data_size(system["peak_memory_bytes"])),
    )


def _score(score: ScoreFacts | None, places: int) -> Cell:
    return Cell(fixed(score["value"], places), brackets(score, places=places)) if score else Cell(UNKNOWN)


def _advantage(difference: Interval, places: int) -> Cell:
    return Cell(signed(difference["value"], places), brackets(difference, places=places))


def _gap(gap: Interval) -> Cell:
    interval = brackets(gap, scale=100, places=0)
    return Cell(percent(gap["value"]), " ".join(filter(None, (interval, gap.get("note")))))


def _pairs(name: str, value: str, rows: Sequence[tuple[str, str]]) -> Table:
    return Table((name, value), tuple((Cell(first), Cell(second)) for first, second in rows))


def _markdown(table: Table) -> str:
    lines = [table.head, ("---", *("---:" for _ in table.head[1:]))]
    lines += [tuple(" ".join(filter(None, cell)) for cell in row) for row in table.rows]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
