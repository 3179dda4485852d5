"""The facts of a report: the schema of `report.json`.

Plain dicts with known keys, so that what is written is what was read. The first keys of `Facts` are a
contract with other tools and never change their meaning; further keys may be added, and may be absent.
Missing numbers are None.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

TEACHER = "teacher"
FINE_TUNED = "fine_tuned"
"""Names of the two systems that every run is measured against; the third bears the method's name."""


class Interval(TypedDict):
    """A number with its bootstrap interval."""

    value: float | None
    low: float | None
    high: float | None
    note: NotRequired[str]
    """Why the value is None, as a sentence."""


NOTHING: Interval = {"value": None, "low": None, "high": None}
"""What was not measured."""


class ScoreFacts(TypedDict):
    """A metric's value on the test split, in the metric's own unit."""

    value: float
    low: float | None
    high: float | None
    signature: str
    higher_is_better: NotRequired[bool]


class Latency(TypedDict):
    """Milliseconds for one input."""

    p50: float | None
    p95: float | None


class System(TypedDict):
    """A model as it was scored and measured."""

    name: str
    parameters: int | None
    disk_bytes: int | None
    scores: dict[str, ScoreFacts]
    latency_ms: Latency
    throughput_per_s: float | None
    peak_memory_bytes: int | None


class CurvePoint(TypedDict):
    """One evaluation during training."""

    step: int
    epoch: NotRequired[float]
    seconds: NotRequired[float]
    train_loss: NotRequired[float | None]
    """In nats per target position."""
    dev: NotRequired[dict[str, float]]
    learning_rate: NotRequired[float]


class StageFacts(TypedDict):
    """A stage of the run: what it cost, or that an earlier result was reused."""

    name: str
    key: str
    seconds: float
    reused: bool


class Lengths(TypedDict):
    """Lengths in tokens: a summary and a histogram."""

    mean: float
    p5: float
    p50: float
    p95: float
    max: int
    edges: list[float]
    counts: list[int]


class Sample(TypedDict):
    """A pseudo-target beside its source."""

    input_id: str
    source: str
    text: str
    logprob_per_token: float | None
    copies: int
    tokens: int
    generator: str
    round: int


class PoolFacts(TypedDict, total=False):
    """The statistics of the pool, shares in 0..1, and some of its rows."""

    texts: int
    inputs: int
    per_input: float
    duplicates: float
    distinct: float
    unfinished: float | None
    logprob_per_token: float | None
    lengths: Lengths | None
    generators: dict[str, int]
    samples: list[Sample]


class BoughtFacts(TypedDict):
    """What a teacher behind an endpoint was asked for, and what came of it."""

    model: str
    inputs: int
    requests: int
    """All that were ever sent for these questions, those of earlier runs among them."""
    texts: int
    """That became pseudo-targets."""
    with_logprobs: int
    """Of these, with the log-probabilities of their tokens."""
    rejected: dict[str, int]
    """Why answers are no targets -> how many."""
    failed: dict[str, int]
    """Why inputs came to nothing -> how many."""
    left_out: dict[str, int]
    """Split -> inputs without a reference."""
    too_long: int
    """Texts over the limits of the student, which are not taught."""
    spent: float | None
    """In the price's currency, over all requests; None: no price was given."""
    aligned: NotRequired[dict[str, float]]
    """Shares of target positions: exact, merged, text."""


class ExampleFacts(TypedDict):
    """A test example and what each system wrote for it."""

    id: str
    source: str
    references: list[str]
    texts: dict[str, str]
    scores: NotRequired[dict[str, float]]
    """System -> its score on this example alone."""
    tag: NotRequired[Literal["best", "worst", "random"]]


class Facts(TypedDict):
    """Everything a report tells."""

    task: str
    primary_metric: str
    systems: list[System]
    gap_closed: dict[str, Interval]
    """Metric -> (distilled - fine-tuned) / (teacher - fine-tuned), a share: 1 is the teacher."""
    method: str
    """The name of the distilled system."""
    run: NotRequired[str]
    seed: NotRequired[int]
    split: NotRequired[str]
    recipe: NotRequired[str]
    """The complete recipe as YAML."""
    differences: NotRequired[dict[str, Interval]]
    """Metric -> by how much the distilled student beats the fine-tuned one, in the metric's unit; positive is
    better, also where lower scores are."""
    dev: NotRequired[dict[str, dict[str, float]]]
    """System -> metric -> its value on the dev split, where checkpoints were chosen."""
    curves: NotRequired[dict[str, list[CurvePoint]]]
    no_gold: NotRequired[bool]
    """Whether what systems are compared with was written by the teacher."""
    pool: NotRequired[PoolFacts]
    bought: NotRequired[BoughtFacts]
    examples: NotRequired[list[ExampleFacts]]
    example_metric: NotRequired[str]
    """The metric of the examples' scores, which need not be one of the task's."""
    stages: NotRequired[list[StageFacts]]
    data: NotRequired[dict[str, int]]
    """Split -> its number of examples."""
    how: NotRequired[str]
    """The conditions under which speed and memory were measured."""
    notes: NotRequired[list[str]]
    """Sentences a reader must know before believing the numbers."""
    versions: NotRequired[dict[str, str]]


def write_json(facts: Facts, path: Path) -> None:
    """Write `report.json`: valid for every JSON reader, so nan and infinities become null.

    Args:
        facts: what to write; keys keep their order.
        path: the file; its folder exists.
    """
    path.write_text(json.dumps(_finite(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def system_named(facts: Facts, name: str) -> System | None:
    """The system of this name, None where the run has none."""
    return next((system for system in facts["systems"] if system["name"] == name), None)


def score_of(system: System | None, metric: str) -> ScoreFacts | None:
    """The system's score, None where it has none."""
    return system["scores"].get(metric) if system else None


def metrics_of(facts: Facts) -> list[str]:
    """Every metric any system was scored with, the primary one first."""
    named = [facts["primary_metric"], *(metric for system in facts["systems"] for metric in system["scores"])]
    return list(dict.fromkeys(named))


def _finite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case Sequence() if not isinstance(value, str):
            return [_finite(item) for item in value]
        case _:
            return value
