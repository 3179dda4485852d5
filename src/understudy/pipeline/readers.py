"""Adapts `models.task_tokenizer` to the names and the `Bench` that the stages of this package still use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from understudy.config.model_sections import Scratch
from understudy.config.task import Task
from understudy.models.task_tokenizer import (
    TaskTokenizer,
    checkpoint_task_tokenizer,
    filter_by_length,
    scratch_task_tokenizer,
)
from understudy.pipeline.bench import Bench
from understudy.records import Example, TaskData
from understudy.store.stages import content_key


@dataclass(frozen=True)
class Reader(TaskTokenizer):
    """A task tokenizer under its old names."""

    def sources(self, examples: Sequence[Example]) -> list[list[int]]:
        """`encode_sources`."""
        return self.encode_sources(examples)

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_targets`."""
        return self.encode_targets(texts)

    def text(self, token_ids: Sequence[int]) -> str:
        """`decode`."""
        return self.decode(token_ids)

    @property
    def pad(self) -> int:
        """`pad_id`."""
        return self.pad_id


def reader_of_checkpoint(task: Task, name_or_path: str) -> Reader:
    """`checkpoint_task_tokenizer`."""
    return Reader(**vars(checkpoint_task_tokenizer(task, name_or_path)))


def reader_of_scratch(task: Task, scratch: Scratch, tokenizer: PreTrainedTokenizerBase) -> Reader:
    """`scratch_task_tokenizer`."""
    return Reader(**vars(scratch_task_tokenizer(task, scratch, tokenizer)))


def fitted(bench: Bench, data: TaskData, readers: Iterable[Reader]) -> tuple[Bench, TaskData]:
    """The examples that all readers can read without truncation, and a bench with their key.

    Raises:
        DataError: as `filter_by_length`.
    """
    task = bench.recipe.task
    data, dropped = filter_by_length(data, readers, policy=task.long_sources, with_likelihood="nll" in task.metrics)
    for split, count in dropped.items():
        if count:
            bench.progress.say(f"{count} {split} examples are over the length limits and take no part")
    if any(dropped.values()):  # by the limits of either model, so what the teacher learns depends on the student too
        left = content_key({split: [example.id for example in getattr(data, split)] for split in dropped})
        bench = replace(bench, left=left)
    return bench, data
