"""The facts of a report: the schema of `report.json`.

Facts are plain dicts with known keys, so the JSON file holds exactly what the page shows. Other tools rely on the
required keys of `Facts`, which never change their meaning; optional keys may be absent, and new ones may be added.
A missing number is None.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from understudy.report.api_facts import ApiResponseFacts, Latency
from understudy.report.confidence_facts import ConfidenceFacts
from understudy.report.content_facts import (
    ChangedTargets,
    ConsistencyFacts,
    HealthFacts,
    Interval,
    ItemErrorFacts,
    LeftOutFacts,
    RemovedLayersFacts,
    TeacherLogprobFacts,
    TokenMapFacts,
    TrimmedVocabulary,
)
from understudy.report.cost_facts import CostFacts
from understudy.store.disk import write_text

TEACHER = "teacher"
FINE_TUNED = "fine_tuned"
"""Names of the two systems that every run compares with; the third system has the method's name."""
REFERENCES = "references"
"""What facts call the first reference of each example, where it is measured like an output."""


NOT_MEASURED: Interval = {"value": None, "low": None, "high": None}


class ScoreFacts(TypedDict):
    """A metric's value on the test split, in the metric's own unit."""

    value: float
    low: float | None
    high: float | None
    signature: str
    label: str
    """The metric's usual spelling, such as BLEU for `bleu`."""
    higher_is_better: bool


class SystemFacts(TypedDict):
    """A model with its scores and its measured costs."""

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
    """Metric -> its value on the dev split."""


class StageFacts(TypedDict):
    """A stage of the run and its duration."""

    name: str
    key: str
    seconds: float
    reused: bool
    """Whether this run reused an earlier result."""


class Lengths(TypedDict):
    """Lengths in tokens: a summary and a histogram."""

    mean: float
    p5: float
    p50: float
    p95: float
    max: int
    edges: list[float]
    counts: list[int]


class PoolSample(TypedDict):
    """A pseudo-target with its source."""

    input_id: str
    source: str
    text: str
    logprob_per_token: float | None
    copies: int
    tokens: int
    generator: str
    round: int


class PoolFacts(TypedDict, total=False):
    """Statistics of the pool of pseudo-targets, with shares in 0..1, and a sample of its rows."""

    texts: int
    inputs: int
    per_input: float
    duplicates: float
    distinct: float
    unfinished: float | None
    reasoned: int
    """Texts from which reasoning was removed; missing where there are none."""
    only_reasoned: int
    """Those of which nothing was left."""
    logprob_per_token: float | None
    lengths: Lengths | None
    generators: dict[str, int]
    samples: list[PoolSample]


class ExampleFacts(TypedDict):
    """A test example with each system's prediction."""

    id: str
    source: str
    references: list[str]
    predictions: dict[str, str]
    scores: NotRequired[dict[str, float]]
    """System -> its score on this example alone."""
    tag: NotRequired[str]
    """Why the example is shown, such as `student ahead by chrF` or `random`."""
    item_errors: NotRequired[dict[str, ItemErrorFacts]]
    """System -> the items of its output that disagree with the source."""


class Facts(TypedDict):
    """The content of a report."""

    task: str
    primary_metric: str
    systems: list[SystemFacts]
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
    """Metric -> advantage of the distilled over the fine-tuned student, in the metric's unit. Positive is better, also
    for metrics where lower scores are better."""
    teacher_differences: NotRequired[dict[str, Interval]]
    """Metric -> advantage of the distilled student over the teacher, as `differences`; negative is worse."""
    dev: NotRequired[dict[str, dict[str, float]]]
    """System -> metric -> its value on the dev split, on which checkpoints are chosen."""
    curves: NotRequired[dict[str, list[CurvePoint]]]
    references_by_teacher: NotRequired[bool]
    """Whether the teacher wrote the references of the test split."""
    layer_order: NotRequired[RemovedLayersFacts]
    """Only if `student.prune.layers` is by_loss."""
    vocabularies: NotRequired[list[TrimmedVocabulary]]
    """Of the networks whose vocabularies were trimmed."""
    teacher_logprobs: NotRequired[list[TeacherLogprobFacts]]
    """One entry per cache; missing where the method keeps none, and in reports of earlier versions."""
    token_map: NotRequired[list[TokenMapFacts]]
    """Only if a local teacher has another tokenizer than the student, which learns its log-probabilities."""
    left_out: NotRequired[list[LeftOutFacts]]
    """What was too long to be used; missing where nothing was, and in reports of earlier versions."""
    pool: NotRequired[PoolFacts]
    api_responses: NotRequired[ApiResponseFacts]
    examples: NotRequired[list[ExampleFacts]]
    example_metric: NotRequired[str]
    """The metric of the examples' scores, which need not be a metric of the task."""
    example_metric_label: NotRequired[str]
    consistency: NotRequired[ConsistencyFacts]
    confidence: NotRequired[ConfidenceFacts]
    """Of the distilled student; missing where no metric scores texts, and in reports of earlier versions."""
    health: NotRequired[dict[str, HealthFacts]]
    """System, and `REFERENCES` with what applies to them -> signs of a training that went wrong."""
    not_learned: NotRequired[list[str]]
    """Why the distilled student has not learned, as clauses; empty where it has."""
    changed_targets: NotRequired[list[ChangedTargets]]
    """For each tokenizer that reads the task, what it changes in the targets."""
    stages: NotRequired[list[StageFacts]]
    data: NotRequired[dict[str, int]]
    """Split -> number of examples."""
    benchmark_conditions: NotRequired[str]
    """Engine, device, threads and batch sizes of the latency, throughput and memory measurements."""
    costs: NotRequired[CostFacts]
    """Only if the recipe gives prices."""
    warnings: NotRequired[list[str]]
    """What is wrong with the data, the training or the student, each a sentence."""
    notes: NotRequired[list[str]]
    """Limitations of the results, each a sentence."""
    date: NotRequired[str]
    """Day on which the systems were scored, as YYYY-MM-DD in UTC."""
    machine: NotRequired[str]
    """The machine on which latency, throughput and memory were measured."""
    versions: NotRequired[dict[str, str]]


def write_facts(facts: Mapping[str, object], path: Path) -> None:
    """Write the facts of a page, such as `report.json`. NaN and infinities become null, which JSON readers accept.

    Args:
        facts: the content; keys keep their order.
        path: the file, in an existing folder.
    """
    text = json.dumps(_finite(facts), indent=2, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, which UTF-8 cannot hold, becomes an escape that JSON has too.
    write_text(path, text.encode("utf-8", "backslashreplace").decode() + "\n")


def system_named(facts: Facts, name: str) -> SystemFacts | None:
    """The system with this name, or None if the run has none."""
    return next((system for system in facts["systems"] if system["name"] == name), None)


def score_of(system: SystemFacts | None, metric: str) -> ScoreFacts | None:
    """The system's score in a metric, or None."""
    return system["scores"].get(metric) if system else None


def metrics_of(facts: Facts) -> list[str]:
    """Every metric with a score, the primary metric first."""
    names = [facts["primary_metric"], *(metric for system in facts["systems"] for metric in system["scores"])]
    return list(dict.fromkeys(names))


def scores_in(facts: Facts, metric: str) -> list[ScoreFacts]:
    """The scores of all systems that have one in this metric."""
    return [score for system in facts["systems"] if (score := score_of(system, metric))]


def metric_label(facts: Facts, metric: str) -> str:
    """The label that the scores carry, or the metric's name if no system has a score."""
    return next((score["label"] for score in scores_in(facts, metric)), metric)


def higher_is_better(facts: Facts, metric: str) -> bool:
    """Whether higher scores are better in a metric, as its scores say."""
    return all(score["higher_is_better"] for score in scores_in(facts, metric))


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
