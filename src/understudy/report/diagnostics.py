"""The diagnostics of a run: the schema of `diagnostics.json`, a summary sentence, the main numbers and tables.

docs/diagnostics.md explains the measurements. `diagnostic_figures.py` draws the figures, `diagnostic_page.py`
renders the page.
"""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from understudy.report import formatting
from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED, PoolFacts
from understudy.report.tables import TextCell, TextTable


class Band(TypedDict):
    """A curve with its 95 % bootstrap interval; the first value belongs to length 1."""

    value: list[float]
    low: list[float]
    high: list[float]


class Entropy(TypedDict):
    """The entropy of the teacher's next-token distributions along the texts of one model, in nats."""

    mean: float
    """Over all tokens of the texts."""
    by_position: list[float]


class CompletionScore(Interval):
    """The score of texts of which the student wrote the first part and the teacher the rest."""

    percent: int
    """The student's share of the text."""


class StudentDiagnosis(TypedDict):
    """One student compared with the teacher."""

    excess_error: Band
    """Excess accumulated error (ExAccErr) up to each length, in percent."""
    kl_on_student_text: list[float]
    """KL(teacher || student) at each position of the student's texts, in nats."""
    kl_on_teacher_text: list[float]
    teacher_entropy_on_student_text: Entropy
    teacher_entropy_on_teacher_text: Entropy
    completion_scores: list[CompletionScore]
    signature: str
    """Of the completion scores."""


class DepthFacts(TypedDict):
    """The cost of the teacher with fewer layers, for outputs of one length."""

    encoder_layers: int | None
    decoder_layers: int
    tokens: int
    latency_ms: float
    throughput_per_s: float


class Depths(TypedDict):
    """The costs of all depths and output lengths."""

    benchmark_conditions: str
    costs: list[DepthFacts]


class Diagnostics(TypedDict):
    """The content of the diagnostics."""

    run: str
    method: str
    inputs: int
    """Number of dev inputs."""
    metric: str
    metric_label: str
    students: dict[str, StudentDiagnosis]
    """The fine-tuned student, then the distilled student."""
    pool: PoolFacts
    depths: NotRequired[Depths]


def summary_sentence(facts: Diagnostics) -> str:
    """The exposure bias of both students at the last length, as far as the intervals allow a claim."""
    names = {facts["method"]: "The distilled student", FINE_TUNED: "the fine-tuned student"}
    claims = (f"{student} {_exposure_bias(facts['students'][name]['excess_error'])}" for name, student in names.items())
    return f"{'; '.join(claims)}."


def main_numbers(facts: Diagnostics) -> list[tuple[str, str]]:
    """Label and value of each student's excess error, three completion scores and teacher entropies."""
    metric = facts["metric_label"]
    numbers = []
    for name, own in facts["students"].items():
        label, length = formatting.system_label(name), len(own["excess_error"]["value"])
        scores = [formatting.fixed(s["value"], 1) for s in own["completion_scores"] if s["percent"] in {0, 50, 100}]
        student_text, teacher_text = (
            formatting.fixed(entropy["mean"], 2)
            for entropy in (own["teacher_entropy_on_student_text"], own["teacher_entropy_on_teacher_text"])
        )
        numbers += [
            (f"{label}: ExAccErr({length})", formatting.join_nonempty(*_last(own["excess_error"]))),
            (f"{label}: {metric} at 0, 50, 100 %", ", ".join(scores)),
            (f"{label}: teacher entropy", f"{student_text} nats on student text, {teacher_text} on teacher text"),
        ]
    return numbers


def exposure_table(facts: Diagnostics) -> TextTable:
    """Each student's excess error at the last length, with the KL divergences and teacher entropies behind it."""
    head = ("ExAccErr", "KL on own text", "KL on teacher text", "Entropy on own text", "Entropy on teacher text")
    return TextTable(
        ("Student", *head),
        tuple(
            (
                TextCell(formatting.system_label(name), f"up to {len(own['kl_on_student_text'])} tokens"),
                TextCell(*_last(own["excess_error"])),
                TextCell(formatting.fixed(_mean(own["kl_on_student_text"]), 3)),
                TextCell(formatting.fixed(_mean(own["kl_on_teacher_text"]), 3)),
                TextCell(formatting.fixed(own["teacher_entropy_on_student_text"]["mean"], 2)),
                TextCell(formatting.fixed(own["teacher_entropy_on_teacher_text"]["mean"], 2)),
            )
            for name, own in facts["students"].items()
        ),
    )


def completion_table(facts: Diagnostics) -> TextTable:
    """The score by the student's share of the text, one row per student."""
    students = facts["students"]
    shares = dict.fromkeys(score["percent"] for own in students.values() for score in own["completion_scores"])
    return TextTable(
        ("Student", *(f"{percent}{formatting.THIN}%" for percent in shares)),
        tuple(
            (
                TextCell(formatting.system_label(name)),
                *(
                    TextCell(formatting.fixed(score["value"], 1), formatting.brackets(score, places=1))
                    for score in own["completion_scores"]
                ),
            )
            for name, own in students.items()
        ),
    )


def depth_table(facts: Diagnostics) -> TextTable:
    """Latency and, in small print, throughput by depth and length; no rows if depths were not measured."""
    costs = facts["depths"]["costs"] if "depths" in facts else []
    lengths = dict.fromkeys(cost["tokens"] for cost in costs)
    rows: dict[str, list[TextCell]] = {}
    for cost in costs:
        throughput = formatting.rounded(cost["throughput_per_s"], "/s")
        rows.setdefault(depth_label(cost), []).append(
            TextCell(formatting.rounded(cost["latency_ms"], "ms"), throughput)
        )
    return TextTable(
        ("Layers", *(f"{tokens} tokens" for tokens in lengths)),
        tuple((TextCell(label), *cells) for label, cells in rows.items()),
    )


def depth_label(cost: DepthFacts) -> str:
    """Numbers of layers in the paper's notation: `6:2` is 6 encoder and 2 decoder layers."""
    encoder, decoder = cost["encoder_layers"], cost["decoder_layers"]
    return str(decoder) if encoder is None else f"{encoder}:{decoder}"


def _exposure_bias(band: Band) -> str:
    if band["low"][-1] <= 0 <= band["high"][-1]:
        return "has no exposure bias beyond noise"
    percent = band["value"][-1]
    size = f"{formatting.fixed(abs(percent), 0)}{formatting.THIN}% {'more' if percent > 0 else 'less'}"
    return f"accumulates {size} error on its own prefixes than on the teacher's"


def _last(band: Band) -> tuple[str, str]:
    """The last value and its interval."""
    last: Interval = {"value": band["value"][-1], "low": band["low"][-1], "high": band["high"][-1]}
    return f"{formatting.fixed(last['value'], 1)}{formatting.THIN}%", formatting.brackets(last, places=1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
