"""What is to be learned: data, prompt, metrics, limits."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, NonNegativeInt, PositiveInt, Tag, model_validator

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

    labeled: Path | None = None
    """None: no labels at all; a teacher behind an endpoint writes all that is learned."""
    unlabeled: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    """Dev and test may be left out where `held_out` takes them from the unlabelled inputs."""


class HeldOut(Section):
    """So many unlabelled inputs become dev and test, drawn by the seed; the teacher writes their references.

    They are taken out of those that `unlabeled_inputs` leaves.
    """

    dev: PositiveInt | None = None
    test: PositiveInt | None = None


class Kd4gen(Section):
    """One JSON of the form split -> {text: [...], target: [...]}."""

    kd4gen: Path


def _has(section: object, key: str) -> bool:
    return key in section if isinstance(section, dict) else hasattr(section, key)


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
    def _the_prompt_shows_the_input(self) -> Self:
        if "{source}" not in self.prompt:
            msg = f"prompt is {self.prompt!r}, which never shows the input; write {{source}} where it belongs"
            raise ValueError(msg)
        return self

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
        Discriminator(lambda files: "kd4gen" if _has(files, "kd4gen") else "labeled"),
    ]
    fields: Fields = Fields()
    held_out: HeldOut = HeldOut()
    pseudo_references: tuple[Literal["dev", "test"], ...] = ()
    """Splits compared with what the teacher writes, though there is a file; those held out always are."""

    @property
    def referenced_by_teacher(self) -> tuple[str, ...]:
        """The splits whose references the teacher writes."""
        return tuple(
            split for split in ("dev", "test") if split in self.pseudo_references or getattr(self.held_out, split)
        )

    @property
    def has_labels(self) -> bool:
        """Whether there is gold to learn from."""
        return not isinstance(self.files, Splits) or self.files.labeled is not None

    @model_validator(mode="after")
    def _every_split_comes_from_one_place(self) -> Self:
        given = self.files.model_dump() if isinstance(self.files, Splits) else dict.fromkeys(("dev", "test"), True)
        for split in ("dev", "test"):
            held_out = getattr(self.held_out, split)
            if bool(given[split]) == bool(held_out):
                found = "both" if held_out else "neither"
                msg = (
                    f"{split} comes from a file, files.{split}, or from the unlabelled inputs, held_out.{split}, and "
                    f"{found} is given; give one of them"
                )
                raise ValueError(msg)
        if isinstance(self.files, Kd4gen) and self.fields != Fields():
            msg = "fields names columns, but a KD4Gen file has names of its own, text and target; leave fields out"
            raise ValueError(msg)
        if isinstance(self.files, Splits) and not (self.files.labeled or self.files.unlabeled):
            msg = "files names neither labeled nor unlabeled, so there is nothing to learn from; name one of them"
            raise ValueError(msg)
        return self


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
