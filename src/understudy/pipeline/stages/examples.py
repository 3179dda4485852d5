"""The stage of the examples that networks can read completely, within the limits of the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from understudy.columns import Examples
from understudy.config.pseudo_targets import InputKind
from understudy.evaluation.predictions import read_predictions
from understudy.models.checkpoint_checks import RoundTrip, round_trip
from understudy.models.length_limits import filter_by_length
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.model_sources import TokenizerSource, load_task_tokenizer
from understudy.pipeline.stages.data import (
    SPLITS,
    DataStage,
    load_split,
    read_data,
    read_order,
    write_order,
    write_split,
)
from understudy.progress import track_many
from understudy.records import Example
from understudy.store import Content, Stage, WorkerContext
from understudy.store.stage import content_key, rows_key


@dataclass(frozen=True)
class ExamplesFacts:
    """Which examples are left, as hashes that other stages take into their keys."""

    counts: dict[str, int]
    dropped: dict[str, int]
    """Split -> examples over a limit."""
    digests: dict[str, str]
    """Split -> hash of its ids, sources and targets."""
    label_digests: dict[str, str]
    """Split -> hash of its sources and targets: ids do not matter to training."""
    round_trips: tuple[RoundTrip, ...] = ()
    """What each tokenizer changes in the targets."""


@dataclass(frozen=True)
class ExamplesStage(Stage[ExamplesFacts]):
    """The splits without training examples that are over a limit of one of the tokenizers. Nothing is truncated."""

    data: DataStage
    tokenizers: tuple[TokenizerSource, ...]
    limits: TextLimits
    long_sources: Literal["refuse", "drop"]
    with_likelihood: bool
    """Whether the likelihood of references is a metric, so that networks need positions for all of them."""
    responses: Stage[Any] | None = None
    """Where an API teacher writes the references of dev or test."""
    references_by_teacher: tuple[str, ...] = ()
    teacher_limits: TextLimits | None = None
    """How the teacher, whose tokenizer is the first, reads the task, where it has a prompt of its own: that prompt only
    has to fit its positions, and the limits hold for the task's."""
    name: ClassVar[str] = "examples"
    version: ClassVar[int] = 2

    def run(self, folder: Path, context: WorkerContext) -> ExamplesFacts:
        """Filters the splits.

        Raises:
            DataError: naming the first example over a limit that may not be dropped.
        """
        data = read_data(context.folder(self.data))
        if self.responses:
            references = {
                split: _with_references(context.folder(self.responses), split) for split in self.references_by_teacher
            }
            data = replace(data, **references)
        tokenizers = [load_task_tokenizer(source, self.limits, context) for source in self.tokenizers]
        reading = self._with_teacher_prompt(tokenizers, context)
        texts = len(reading) * sum(len(getattr(data, split)) for split in SPLITS)
        with track_many(context.progress, "count the tokens of the examples", texts, "input") as progress:
            data, dropped = filter_by_length(
                data, reading, policy=self.long_sources, with_likelihood=self.with_likelihood, progress=progress
            )
        for split, count in dropped.items():
            if count:
                context.progress.log(f"{count} {split} examples are over the length limits and are dropped")
        targets = [text for split in SPLITS for example in getattr(data, split) for text in example.targets]
        for split in SPLITS:
            write_split(folder, split, getattr(data, split))
        place = context.folder(self.data)
        order = load_split(place, "unlabeled").take(read_order(place)).ids
        write_order(folder, order, Examples.of(data.unlabeled))
        return ExamplesFacts(
            counts={split: len(getattr(data, split)) for split in SPLITS},
            dropped=dropped,
            digests={s: rows_key([e.id, e.source, e.targets] for e in getattr(data, s)) for s in SPLITS},
            round_trips=tuple(round_trip(tokenizer, targets) for tokenizer in tokenizers),
            label_digests={s: rows_key([e.source, e.targets] for e in getattr(data, s)) for s in SPLITS},
        )

    def _with_teacher_prompt(self, tokenizers: list[TaskTokenizer], context: WorkerContext) -> list[TaskTokenizer]:
        """The tokenizers with their prompts and limits; the teacher's once more where it has a prompt of its own."""
        if self.teacher_limits is None:
            return tokenizers
        own = load_task_tokenizer(self.tokenizers[0], self.teacher_limits, context)
        return [*tokenizers, replace(own, limits_sources=False)]


def labels_content(stage: ExamplesStage, facts: ExamplesFacts, *splits: str) -> Content:
    """The sources and targets of some splits, as a field of the stages that learn them."""
    return Content(content_key([facts.label_digests[split] for split in splits]), stage.folder_name)


def scored_content(stage: ExamplesStage, facts: ExamplesFacts, *splits: str) -> Content:
    """The examples of some splits with their ids, as a field of the stages that predict or score them."""
    return Content(content_key([facts.digests[split] for split in splits]), stage.folder_name)


def block_in_order(folder: Path, kind: InputKind, start: int, end: int) -> Examples:
    """Some inputs of an examples stage: labeled ones as they are, unlabeled ones in the order of their draw."""
    split = load_split(folder, kind)
    return split.take(read_order(folder)[start:end]) if kind == "unlabeled" else split[start:end]


def _with_references(responses: Path, split: str) -> Sequence[Example]:
    """The inputs of a split with the references that an API teacher wrote; inputs without one are left out."""
    return tuple(Example(one.id, one.source, one.references) for one in read_predictions(responses / f"{split}.jsonl"))
