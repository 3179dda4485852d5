"""The diagnostics of a run: the schema of `diagnostics.json`, their main numbers and tables.

How they are measured stands in docs/diagnostics.md; drawings stand in `diagnostic_figures`, the page in
`diagnostic_page`.
"""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from understudy.report import wording
from understudy.report.facts import FINE_TUNED, Interval, PoolFacts
from understudy.report.tables import Cell, Table


class Band(TypedDict):
    """A curve with its 95 % bootstrap interval; the first value belongs to length 1."""

    value: list[float]
    low: list[float]
    high: list[float]


class Entropy(TypedDict):
    """The teacher's along the texts of one writer, in nats."""

    mean: float
    """Over all tokens of the texts."""
    by_position: list[float]


class GuidedScore(Interval):
    """The score where the student wrote the first so many percent and the teacher the rest."""

    percent: int


class StudentDiagnosis(TypedDict):
    """One student beside the teacher."""

    excess_error: Band
    """ExAccErr up to each length, in percent."""
    on_student: list[float]
    """KL(teacher || student) at each position of the student's texts, in nats."""
    on_teacher: list[float]
    entropy_on_student: Entropy
    entropy_on_teacher: Entropy
    guided: list[GuidedScore]
    signature: str
    """Of the guided scores."""


class DepthFacts(TypedDict):
    """What the teacher would cost with fewer layers, at one length of its output."""

    encoder_layers: int | None
    decoder_layers: int
    tokens: int
    latency_ms: float
    throughput_per_s: float


class Depths(TypedDict):
    """All depths and lengths, and how they were measured."""

    how: str
    costs: list[DepthFacts]


class Diagnostics(TypedDict):
    """Everything the diagnostics tell."""

    run: str
    method: str
    inputs: int
    """Dev inputs they were made on."""
    metric: str
    students: dict[str, StudentDiagnosis]
    """The fine-tuned student, then the distilled one."""
    pool: PoolFacts
    depths: NotRequired[Depths]


def sentence(facts: Diagnostics) -> str:
    """What the curves say at their ends, no more than the intervals allow."""
    names = {facts["method"]: "The distilled student", FINE_TUNED: "the fine-tuned one"}
    return "; ".join(f"{who} {_excess(facts['students'][name]['excess_error'])}" for name, who in names.items())


def main_numbers(facts: Diagnostics) -> list[tuple[str, str]]:
    """A label and a value each: the excess error, three guided scores, the teacher's entropy; of every student."""
    metric = wording.metric_label(facts["metric"])
    numbers = []
    for name, own in facts["students"].items():
        label, length = wording.system_label(name), len(own["excess_error"]["value"])
        scores = [wording.fixed(guided["value"], 1) for guided in own["guided"] if guided["percent"] in {0, 50, 100}]
        entropies = [wording.fixed(own[key]["mean"], 2) for key in ("entropy_on_student", "entropy_on_teacher")]
        numbers += [
            (f"{label}: ExAccErr({length})", " ".join(_end(own["excess_error"]))),
            (f"{label}: {metric} at 0, 50, 100 %", ", ".join(scores)),
            (f"{label}: teacher's entropy", f"{entropies[0]} nats on its text, {entropies[1]} on the teacher's"),
        ]
    return numbers


def exposure_table(facts: Diagnostics) -> Table:
    """Each student at the end of its curve: the excess error, what it is made of, how sure the teacher is."""
    head = ("ExAccErr", "KL on own text", "KL on teacher's", "Entropy on own text", "Entropy on teacher's")
    return Table(
        ("Student", *head),
        tuple(
            (
                Cell(wording.system_label(name), f"up to {len(own['on_student'])} tokens"),
                Cell(*_end(own["excess_error"])),
                Cell(wording.fixed(_mean(own["on_student"]), 3)),
                Cell(wording.fixed(_mean(own["on_teacher"]), 3)),
                Cell(wording.fixed(own["entropy_on_student"]["mean"], 2)),
                Cell(wording.fixed(own["entropy_on_teacher"]["mean"], 2)),
            )
            for name, own in facts["students"].items()
        ),
    )


def guided_table(facts: Diagnostics) -> Table:
    """The score by how much of the text the student wrote."""
    shares = dict.fromkeys(guided["percent"] for own in facts["students"].values() for guided in own["guided"])
    return Table(
        ("Student", *(f"{percent}{wording.THIN}%" for percent in shares)),
        tuple(
            (
                Cell(wording.system_label(name)),
                *(Cell(wording.fixed(own["value"], 1), wording.brackets(own, places=1)) for own in student["guided"]),
            )
            for name, student in facts["students"].items()
        ),
    )


def depth_table(facts: Diagnostics) -> Table:
    """Latency and, below it, throughput by depth and length; no rows where depths were not measured."""
    costs = facts["depths"]["costs"] if "depths" in facts else []
    lengths = dict.fromkeys(cost["tokens"] for cost in costs)
    rows: dict[str, list[Cell]] = {}
    for cost in costs:
        speed = wording.rounded(cost["throughput_per_s"], "/s")
        rows.setdefault(depth_label(cost), []).append(Cell(wording.rounded(cost["latency_ms"], "ms"), speed))
    return Table(
        ("Layers", *(f"{tokens} tokens" for tokens in lengths)),
        tuple((Cell(label), *cells) for label, cells in rows.items()),
    )


def depth_label(cost: DepthFacts) -> str:
    """`6:2` is six encoder and two decoder layers, as in the paper."""
    encoder, decoder = cost["encoder_layers"], cost["decoder_layers"]
    return str(decoder) if encoder is None else f"{encoder}:{decoder}"


def _excess(band: Band) -> str:
    if band["low"][-1] <= 0 <= band["high"][-1]:
        return "errs about as much on its own prefixes as on the teacher's"
    percent = band["value"][-1]
    size = f"{wording.fixed(abs(percent), 0)}{wording.THIN}% {'more' if percent > 0 else 'less'}"
    return f"errs {size} on its own prefixes than on the teacher's"


def _end(band: Band) -> tuple[str, str]:
    """The last value and its interval."""
    last: Interval = {"value": band["value"][-1], "low": band["low"][-1], "high": band["high"][-1]}
    return f"{wording.fixed(last['value'], 1)}{wording.THIN}%", wording.brackets(last, places=1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
