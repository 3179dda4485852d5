"""What is to be learned: data, prompt, metrics, limits."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, Tag, model_validator

from understudy.config.section import Section, variant_by_key
from understudy.config.template import Template

MetricName = Literal[
    "bleu",
    "chrf",
    "rouge",
    "rouge1",
    "rouge2",
    "rougeL",
    "wer",
    "meteor",
    "bertscore",
    "distinct_1",
    "distinct_2",
    "slot_error_rate",
    "nll",
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


class HubSplits(Section):
    """Which split of the data set is what here, or which part of one: `train`, `validation[:5000]`, `train[10000:]`."""

    labeled: str
    unlabeled: str | None = None
    dev: str
    test: str


class Hub(Section):
    """A data set in the layout of the Hugging Face hub. Code that comes with a data set is never run."""

    dataset: str
    """A name on the hub, or a local folder."""
    config: str | None = None
    """Which of its configurations, where it has several."""
    revision: str | None = None
    """A branch, a tag or a commit; none: the newest. A stage once made is not made again for a newer one."""
    splits: HubSplits
    source: Template
    """Text with columns in braces: `{document}`, `{answers.text[0]}`; `{document:300 words}` takes the first words."""
    target: Template
    incomplete: Literal["refuse", "drop"] = "refuse"
    """What becomes of rows in which a column that is named has nothing."""


class Forecast(Section):
    """How much of the embedded task to make: structured weather forecasts -> short bulletins."""

    labeled: PositiveInt = 1500
    unlabeled: PositiveInt = 10000
    dev: PositiveInt = 300
    test: PositiveInt = 500
    references: PositiveInt = 3
    """Bulletins per dev and test input."""


class BertScore(Section):
    """The encoder that `bertscore` compares texts with."""

    model: str
    """A checkpoint by hub name, or a local folder."""
    layer: NonNegativeInt | None = None
    """Which hidden states, 0 being the embeddings; none: the last."""


class Task(Section):
    """What every task has."""

    prompt: str = "{source}"
    """What the models read; {source} stands for the input."""
    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "rouge", "nll", "distinct_2")
    primary_metric: MetricName = "bleu"
    """Chooses checkpoints and speaks in the verdict."""
    bertscore: BertScore | None = None
    """Asked for by the metric of that name."""
    max_source_tokens: PositiveInt = 256
    max_target_tokens: PositiveInt = 64
    long_sources: Literal["refuse", "drop"] = "refuse"
    """What becomes of training inputs over the limit. Their end is never cut: it may hold the answer."""
    leaks: Literal["refuse", "drop_from_train", "allow"] = "refuse"
    """What becomes of training inputs that are also in dev or test."""

    @model_validator(mode="after")
    def _bertscore_has_an_encoder(self) -> Self:
        if "bertscore" in self.metrics and self.bertscore is None:
            msg = (
                "metrics asks for bertscore, which compares texts by an encoder, and bertscore.model is not set; set "
                "it to a checkpoint such as roberta-large, or take the metric out"
            )
            raise ValueError(msg)
        return self


class GivenTask(Task):
    """What tasks have in common whose inputs are read, not made."""

    labeled_inputs: PositiveInt | None = None
    """Keep the labels of so many train inputs, drawn by the seed; the rest becomes unlabelled."""
    unlabeled_inputs: PositiveInt | None = None
    """Teach so many of the unlabelled inputs, drawn by the seed before leaks and limits take some away; a teacher that
    may see all labels still sees those of the others. None: all."""


class FilesTask(GivenTask):
    """The user's own files."""

    files: Annotated[
        Annotated[Splits, Tag("labeled")] | Annotated[Kd4gen, Tag("kd4gen")],
        variant_by_key("labeled", "kd4gen"),
    ]
    fields: Fields = Fields()


class HubTask(GivenTask):
    """A data set of the hub, by name or as a local folder."""

    hub: Hub


class ForecastTask(Task):
    """The embedded task that needs no download."""

    forecast: Forecast
    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "rouge", "slot_error_rate", "nll", "distinct_2")


AnyTask = Annotated[
    Annotated[FilesTask, Tag("files")] | Annotated[HubTask, Tag("hub")] | Annotated[ForecastTask, Tag("forecast")],
    variant_by_key("files", "hub", "forecast"),
]
