"""How a network of the run reads the task: its tokenizer, the prompt, the limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from understudy.config.networks import ScratchStudent, ScratchTeacher
from understudy.config.recipe import Recipe
from understudy.config.task import Task
from understudy.errors import DataError
from understudy.models.text import decode, encode_sources, encode_targets, too_long
from understudy.pipeline.bench import Bench
from understudy.records import Example, TaskData
from understudy.store.stages import content_key


@dataclass(frozen=True)
class Reader:
    """Turns the task's texts into the token ids of one network, and back."""

    tokenizer: PreTrainedTokenizerBase
    is_encoder_decoder: bool
    prompt: str
    max_source_tokens: int
    max_target_tokens: int

    def sources(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids of the prompted sources, of any length."""
        texts = [self.prompt.replace("{source}", example.source) for example in examples]
        return encode_sources(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder)

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of target texts, of any length."""
        return encode_targets(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder)

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of what the network wrote."""
        return decode(self.tokenizer, token_ids)

    @property
    def pad(self) -> int:
        """Fills up batches; masked everywhere, so any id will do for a tokenizer without one."""
        return int(self.tokenizer.pad_token_id or 0)


def reader_of(task: Task, tokenizer: PreTrainedTokenizerBase, *, is_encoder_decoder: bool) -> Reader:
    """The reader of a network under a task's prompt and limits."""
    return Reader(tokenizer, is_encoder_decoder, task.prompt, task.max_source_tokens, task.max_target_tokens)


def fitting(data: TaskData, readers: Iterable[Reader], *, policy: str) -> tuple[TaskData, dict[str, int]]:
    """The task as both networks can read it whole: nothing is ever cut.

    Args:
        data: the task.
        readers: of the teacher and the student.
        policy: what becomes of training examples over a limit: "refuse" or "drop". Dev and test inputs over the
            limit are always refused: a score leaves nobody out.

    Returns:
        The task and how many examples of each training split were dropped.

    Raises:
        DataError: naming the first example over a limit, the limit, and the ways out.
    """
    dropped: dict[str, int] = {}
    for reader in readers:
        for split in ("dev", "test"):
            _refuse(split, "source", getattr(data, split), reader, _long_sources(getattr(data, split), reader))
        for split in ("labeled", "unlabeled", "withheld"):
            examples: Sequence[Example] = getattr(data, split)
            long_sources, long_targets = _long_sources(examples, reader), _long_targets(examples, reader)
            if policy == "refuse":
                _refuse(split, "source", examples, reader, long_sources)
                _refuse(split, "target", examples, reader, long_targets)
            out = {*long_sources, *long_targets}
            dropped[split] = dropped.get(split, 0) + len(out)
            data = replace(data, **{split: tuple(e for i, e in enumerate(examples) if i not in out)})
    return data, dropped


def _has_places(recipe: Recipe) -> bool:
    """Whether a network is built for the task's limits and not beyond."""
    return any(
        network.scratch.has_places
        for network in (recipe.teacher, recipe.student)
        if isinstance(network, ScratchTeacher | ScratchStudent)
    )


def _refuse_without_room(data: TaskData, reader: Reader) -> None:
    """Let pass only dev and test whose references a network from scratch has places for.

    A reference may be longer than any text that is written, but its likelihood asks for all of it.

    Raises:
        DataError: naming the first that has none, and the ways out.
    """
    room = reader.max_source_tokens + reader.max_target_tokens
    for split in ("dev", "test"):
        examples: Sequence[Example] = getattr(data, split)
        for example, source in zip(examples, reader.sources(examples), strict=True):
            longest = max(map(len, reader.targets(example.targets)), default=0)
            needed = longest if reader.is_encoder_decoder else len(source) + longest
            if needed > room:
                raise DataError(
                    f"{split} example {example.id!r} has a reference of {longest} tokens, and a network from scratch "
                    f"has places for {room}, task.max_source_tokens and task.max_target_tokens together, so nll cannot "
                    f"be told of it; raise task.max_target_tokens to {longest}, or take nll out of task.metrics"
                )


def fitted(bench: Bench, data: TaskData, readers: Iterable[Reader]) -> tuple[Bench, TaskData]:
    """What of the task all readers can read whole, and a bench that knows it.

    Raises:
        DataError: as `fitting`.
    """
    readers = tuple(readers)
    data, dropped = fitting(data, readers, policy=bench.recipe.task.long_sources)
    if "nll" in bench.recipe.task.metrics and _has_places(bench.recipe):
        for reader in readers:
            _refuse_without_room(data, reader)
    for split, count in dropped.items():
        if count:
            bench.progress.say(f"{count} {split} examples are over the length limits and take no part")
    if any(dropped.values()):  # by the limits of either network, so what the teacher learns depends on the student too
        left = content_key({split: [example.id for example in getattr(data, split)] for split in dropped})
        bench = replace(bench, left=left)
    return bench, data


def _long_sources(examples: Sequence[Example], reader: Reader) -> list[int]:
    return too_long(reader.sources(examples), max_tokens=reader.max_source_tokens)


def _long_targets(examples: Sequence[Example], reader: Reader) -> list[int]:
    owners = [i for i, example in enumerate(examples) for _ in example.targets]
    rows = reader.targets([text for example in examples for text in example.targets])
    return sorted({owners[row] for row in too_long(rows, max_tokens=reader.max_target_tokens)})


def _refuse(split: str, side: str, examples: Sequence[Example], reader: Reader, indices: Sequence[int]) -> None:
    if not indices:
        return
    first = examples[indices[0]]
    limit = reader.max_source_tokens if side == "source" else reader.max_target_tokens
    longest = max(len(row) for row in (reader.sources([first]) if side == "source" else reader.targets(first.targets)))
    remedy = "" if split in {"dev", "test"} else ", or set task.long_sources=drop to leave such training examples out"
    raise DataError(
        f"the {side} of {split} example {first.id!r} has {longest} tokens and task.max_{side}_tokens is {limit}: its "
        f"end would be cut, as would that of {len(indices) - 1} more in {split}. Raise task.max_{side}_tokens{remedy}"
    )
