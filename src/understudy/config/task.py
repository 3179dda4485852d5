"""The section `task`: data, prompt, metrics and length limits."""

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Discriminator, Field, StrictBool, Tag, model_validator

from understudy.config.numbers import CountFromZero, Inputs, TextsPerInput, TokenCount
from understudy.config.section import Section, variant_by_key
from understudy.config.template import Template
from understudy.errors import did_you_mean


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = f"names {', '.join(repeated)} more than once; name each metric once"
        raise ValueError(msg)
    return names


MetricNames = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_each_once)]
"""Keys of `METRICS` in evaluation/metrics.py, or 'package.module:object' or 'path/to/file.py:object' for code of your
own. Names are checked against the table before anything is trained."""


class Splits(Section):
    """One file per split: JSONL, JSONL.gz, JSON (an array), CSV, TSV or Parquet."""

    labeled: Path | None = None
    """None for a task without labels, where an API teacher generates all training targets."""
    unlabeled: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    """Dev and test may be omitted where `held_out` takes them from the unlabeled inputs."""


class HeldOut(Section):
    """Number of unlabeled inputs that become dev and test, drawn by the seed; the teacher generates their references.

    They are taken from the inputs that remain after `unlabeled_inputs`.
    """

    dev: Inputs | None = None
    test: Inputs | None = None


class Kd4gen(Section):
    """One JSON file of the form split -> {text: [...], target: [...]}."""

    kd4gen: Path


def _has(section: object, key: str) -> bool:
    return key in section if isinstance(section, dict) else hasattr(section, key)


class Fields(Section):
    """The names of the columns that hold id, source and target."""

    id: str | None = "id"
    """Optional in the file. Without it, or with null, ids are made from split and line number."""
    source: str = "source"
    target: str = "target"
    """A text, or a list of texts."""
    targets: str = "targets"
    """A list of texts, for records without `target`."""


FormatName = Literal[
    "auto",
    "columns",
    "messages",
    "sharegpt",
    "alpaca",
    "stored_completions",
    "batch_input",
    "batch_output",
    "request_log",
]
"""Keys of `FORMATS` in tasks/record_formats.py, columns for records with the names of `fields`, and auto: the format
that the keys of the first record fit, which the run says in a line."""
TurnPolicy = Literal["refuse", "last", "all"]


class Format(Section):
    """What the records of the files hold. `format: messages` is short for that format in all files."""

    labeled: FormatName = "auto"
    unlabeled: FormatName = "auto"
    dev: FormatName = "auto"
    test: FormatName = "auto"
    turns: TurnPolicy = "refuse"
    """What is done with conversations of several turns before the answer: refuse them, take the last user message
    alone as the source, or take all turns, each with its role. System turns are never part of the source."""
    batch_requests: Path | None = None
    """The input file of the batch whose output files are read; joined by `custom_id`."""
    tsv_quotes: StrictBool = False
    """Whether quotation marks in TSV files quote cells, as in CSV. Otherwise each line is an example."""

    @model_validator(mode="before")
    @classmethod
    def _one_name_is_for_all_files(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        known = get_args(FormatName)
        if value not in known:
            msg = f"unknown format {value!r}; known: {', '.join(known)}{did_you_mean(value, known)}"
            raise ValueError(msg)
        return dict.fromkeys(Splits.model_fields, value)


class HubSplits(Section):
    """The data set's split for each of ours, or a part of one: `train`, `validation[:5000]`, `train[10000:]`."""

    labeled: str
    unlabeled: str | None = None
    dev: str
    test: str


class Hub(Section):
    """A data set in the layout of the Hugging Face hub. Code in a data set is never run."""

    dataset: str
    """A name on the hub, or a local folder."""
    config: str | None = None
    """The configuration of the data set, where it has several."""
    revision: str | None = None
    """A branch, a tag or a commit; null for the newest. A cached stage is not recomputed for a newer revision."""
    splits: HubSplits
    source: Template
    """Text with columns in braces: `{document}`, `{answers.text[0]}`; `{document:300 words}` is the first 300 words,
    `{messages[user].content}` the last message of a role."""
    target: Template
    incomplete: Literal["refuse", "drop"] = "refuse"
    """Whether to refuse or drop rows in which a named column is empty."""


class ForecastSizes(Section):
    """Sizes of the embedded task: structured weather forecasts -> short bulletins."""

    labeled: Inputs = 1500
    unlabeled: Inputs = 10000
    dev: Inputs = 300
    test: Inputs = 500
    references: TextsPerInput = 3
    """Reference bulletins per dev and test input."""


class BertScore(Section):
    """The encoder of metric `bertscore`."""

    model: str
    """A checkpoint by hub name, or a local folder."""
    layer: CountFromZero | None = None
    """Index of the hidden states, 0 for the embeddings; null for the last layer."""


class Task(Section):
    """Settings of every task."""

    prompt: str = "{source}"
    """Prompt template of local models; {source} is replaced by the input. A decoder-only model may read the result
    in a chat template: see `template` of teacher and student."""
    system: str | None = None
    """Text of the system turn of a chat template, for teacher and student alike; templates without a system role put it
    before the user's message (Gemma 3) or are refused. Without a chat template it is put before the prompt."""
    metrics: MetricNames = ("bleu", "chrf", "rouge", "nll", "distinct_2")
    """Metrics that the references cannot be scored by, such as BLEU on single words, are refused; default ones are
    replaced by exact_match and chrf."""
    primary_metric: str = "bleu"
    """The metric that chooses checkpoints and decides the verdict; one of `metrics`. Left out: bleu, or the first of
    `metrics` where bleu is not among them."""
    bertscore: BertScore | None = None
    """Required by the metric of that name."""
    keep_reasoning: StrictBool = False
    """Whether text between markers of reasoning (`<think>`) is part of what a local model generates. Otherwise it is
    removed, and a text that is only reasoning is no target."""
    max_source_tokens: TokenCount = 256
    max_target_tokens: TokenCount = 64
    long_sources: Literal["refuse", "drop"] = "refuse"
    """Whether to refuse or drop training inputs over the limit. None is truncated: the end may hold the answer."""
    leaks: Literal["refuse", "drop_from_train", "allow"] = "refuse"
    """Whether to refuse, drop or allow training inputs that are also in dev or test."""

    @model_validator(mode="before")
    @classmethod
    def _first_metric_is_primary(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        match data.get("metrics"):
            case [first, *_] as metrics if "bleu" not in metrics:
                return {"primary_metric": first, **data}
        return data

    @model_validator(mode="after")
    def _prompt_contains_the_source(self) -> Self:
        if "{source}" not in self.prompt:
            msg = f"prompt is {self.prompt!r}, which never shows the input; write {{source}} where it belongs"
            raise ValueError(msg)
        return self


class GivenTask(Task):
    """Settings of tasks whose data come from files or the hub."""

    labeled_inputs: Inputs | None = None
    """Number of train inputs that keep their labels, drawn by the seed; the others become unlabeled."""
    unlabeled_inputs: Inputs | None = None
    """Number of unlabeled inputs to use, drawn by the seed before `leaks` and the length limits remove some; null for
    all. A teacher that trains on all labels still uses those of the others."""
    checker: str | None = None
    """Function for metric `slot_error_rate`, as 'package.module:function' or 'path/to/file.py:function': from source
    and text to counts of facts. Imported only with --allow-code."""


class FilesTask(GivenTask):
    """The user's own files."""

    files: Annotated[
        Annotated[Splits, Tag("labeled")] | Annotated[Kd4gen, Tag("kd4gen")],
        Discriminator(lambda files: "kd4gen" if _has(files, "kd4gen") else "labeled"),
    ]
    fields: Fields = Fields()
    format: Format = Format()
    held_out: HeldOut = HeldOut()
    pseudo_references: tuple[Literal["dev", "test"], ...] = ()
    """Splits whose references the teacher generates although there is a file; held-out splits always are."""

    @property
    def referenced_by_teacher(self) -> tuple[str, ...]:
        """The splits whose references the teacher generates."""
        return tuple(
            split for split in ("dev", "test") if split in self.pseudo_references or getattr(self.held_out, split)
        )

    @property
    def has_labels(self) -> bool:
        """Whether there are gold targets to train on."""
        return not isinstance(self.files, Splits) or self.files.labeled is not None

    @model_validator(mode="after")
    def _each_split_has_one_origin(self) -> Self:
        given = self.files.model_dump() if isinstance(self.files, Splits) else dict.fromkeys(("dev", "test"), True)
        for split in ("dev", "test"):
            held_out = getattr(self.held_out, split)
            if bool(given[split]) == bool(held_out):
                found = "both" if held_out else "neither"
                msg = (
                    f"{split} comes from a file, files.{split}, or from the unlabeled inputs, held_out.{split}, and "
                    f"{found} is given; give one of them"
                )
                raise ValueError(msg)
        if isinstance(self.files, Kd4gen) and self.fields != Fields():
            msg = "fields names columns, but the columns of a KD4Gen file are always text and target; leave fields out"
            raise ValueError(msg)
        if isinstance(self.files, Kd4gen) and self.format != Format():
            msg = "format is that of task.files by split, but a KD4Gen file has its own; leave format out"
            raise ValueError(msg)
        named = {getattr(self.format, split) for split in given if given[split]}
        columns = self.fields.model_copy(update={"id": Fields().id})
        if isinstance(self.files, Splits) and columns != Fields() and named.isdisjoint({"auto", "columns"}):
            msg = (
                f"fields names columns, which files of format {', '.join(sorted(named))} do not have; leave fields out"
            )
            raise ValueError(msg)
        if isinstance(self.files, Splits) and not (self.files.labeled or self.files.unlabeled):
            msg = "files names neither labeled nor unlabeled, so there is nothing to train on; name one of them"
            raise ValueError(msg)
        return self


class HubTask(GivenTask):
    """A data set of the hub, by name or as a local folder."""

    hub: Hub


class ForecastTask(Task):
    """The embedded task, which needs no download and has a checker of its own."""

    forecast: ForecastSizes
    metrics: MetricNames = ("bleu", "chrf", "rouge", "slot_error_rate", "nll", "distinct_2")


AnyTask = Annotated[
    Annotated[FilesTask, Tag("files")] | Annotated[HubTask, Tag("hub")] | Annotated[ForecastTask, Tag("forecast")],
    variant_by_key("files", "hub", "forecast"),
]
