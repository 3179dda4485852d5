"""What is to be learned: data, prompt, metrics, limits."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import PositiveInt, Tag

from understudy.config.section import Section, variant_by_key

MetricName = Literal[
    "bleu", "chrf", "rouge", "rouge1", "rouge2", "rougeL", "distinct_1", "distinct_2", "slot_error_rate", "nll"
]


class Splits(Section):
    """One file per split: JSONL, JSONL.gz, CSV, TSV or Parquet."""

    labeled: Path
    unlabeled: Path | None = None
    dev: Path
    test: Path


class Kd4gen(Section):
    """One JSON of the form split -> {text: [...], target: [...]}."""

    kd4gen: Path


class Fields(Section):
    """The names under which the files hold what we call id, source and target."""

    id: str | None = "id"
    """Optional in the file; none, or where it is absent: ids are made from split and line."""
    source: str = "source"
    target: str = "target"
    """A text, or a list of texts."""
    targets: str = "targets"
    """A list of texts, for records without `target`."""


class Forecast(Section):
    """How much of the embedded task to make: structured weather forecasts -> short bulletins."""

    labeled: PositiveInt = 1500
    unlabeled: PositiveInt = 10000
    dev: PositiveInt = 300
    test: PositiveInt = 500
    references: PositiveInt = 3
    """Bulletins per dev and test input."""


class Task(Section):
    """What every task has."""

    prompt: str = "{source}"
    """What the models read; {source} stands for the input."""
    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "rouge", "nll", "distinct_2")
    primary_metric: MetricName = "bleu"
    """Chooses checkpoints and speaks in the verdict."""
    max_source_tokens: PositiveInt = 256
    max_target_tokens: PositiveInt = 64
    long_sources: Literal["refuse", "drop"] = "refuse"
    """What becomes of training inputs over the limit. Their end is never cut: it may hold the answer."""
    leaks: Literal["refuse", "drop_from_train", "allow"] = "refuse"
    """What becomes of training inputs that are also in dev or test."""


class FilesTask(Task):
    """The user's own files."""

    files: Annotated[
        Annotated[Splits, Tag("labeled")] | Annotated[Kd4gen, Tag("kd4gen")],
        variant_by_key("labeled", "kd4gen"),
    ]
    fields: Fields = Fields()
    labeled_inputs: PositiveInt | None = None
    """Keep the labels of so many train inputs, drawn by the seed; the rest becomes unlabelled."""


class ForecastTask(Task):
    """The embedded task that needs no download."""

    forecast: Forecast
    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "rouge", "slot_error_rate", "nll", "distinct_2")


AnyTask = Annotated[
    Annotated[FilesTask, Tag("files")] | Annotated[ForecastTask, Tag("forecast")],
    variant_by_key("files", "forecast"),
]
