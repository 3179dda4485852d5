"""How a network of the run reads the task: its tokenizer, the prompt, the limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from understudy.config.model_sections import Scratch
from understudy.config.task import Task
from understudy.errors import DataError
from understudy.models.checkpoint import config_of, max_positions
from understudy.models.scratch import ARCHITECTURES
from understudy.models.text import decode, encode_sources, encode_targets, too_long
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.bench import Bench
from understudy.records import Example, TaskData
from understudy.store.stages import content_key

LEARNED = "labeled", "unlabeled", "withheld"
HELD_OUT = "dev", "test"
SPLITS = *LEARNED, *HELD_OUT
DROP = "task.long_sources=drop"


@dataclass(frozen=True)
class Reader:
    """Turns the task's texts into the token ids of one network, and back."""

    tokenizer: PreTrainedTokenizerBase
    is_encoder_decoder: bool
    prompt: str
    max_source_tokens: int
    max_target_tokens: int
    places: int | None = None
    """Positions the network has, of source and target together where it is decoder-only; None: no last one."""

    @property
    def longest(self) -> int:
        """Tokens of the longest source and target together: a network from scratch is built with as many places."""
        return self.max_source_tokens + self.max_target_tokens

    def needed(self, source: int, target: int) -> int:
        """The positions that texts of so many tokens take; a target's last token is told, but not read."""
        return max(source, target) if self.is_encoder_decoder else source + target - 1

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


def reader_of_checkpoint(task: Task, name_or_path: str) -> Reader:
    """How a network on disk or on the hub reads a task; no weights are loaded.

    Raises:
        ModelError: if there is none, or it has no tokenizer.
    """
    config = config_of(name_or_path)
    return Reader(
        load_tokenizer(name_or_path),
        bool(config.is_encoder_decoder),
        task.prompt,
        task.max_source_tokens,
        task.max_target_tokens,
        max_positions(config),
    )


def reader_of_scratch(task: Task, scratch: Scratch, tokenizer: PreTrainedTokenizerBase) -> Reader:
    """How a network that is built for a task reads it."""
    reader = Reader(tokenizer, scratch.has_encoder, task.prompt, task.max_source_tokens, task.max_target_tokens)
    return replace(reader, places=max_positions(ARCHITECTURES[scratch.architecture](scratch, reader.longest)))


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
        for split in HELD_OUT:
            _refuse(split, "source", getattr(data, split), reader, _long_sources(getattr(data, split), reader))
        for split in LEARNED:
            examples: Sequence[Example] = getattr(data, split)
            long_sources, long_targets = _long_sources(examples, reader), _long_targets(examples, reader)
            if policy == "refuse":
                _refuse(split, "source", examples, reader, long_sources)
                _refuse(split, "target", examples, reader, long_targets)
            out = {*long_sources, *long_targets}
            dropped[split] = dropped.get(split, 0) + len(out)
            data = replace(data, **{split: tuple(e for i, e in enumerate(examples) if i not in out)})
    return data, dropped


def _refuse_without_places(data: TaskData, reader: Reader) -> None:
    """Let pass only sources that a network has places for, with the longest text it may write.

    Raises:
        DataError: naming the first that is too long, and the ways out.
    """
    if reader.places is None:
        return
    room = reader.places if reader.is_encoder_decoder else reader.places - reader.max_target_tokens + 1
    for split in SPLITS:
        examples: Sequence[Example] = getattr(data, split)
        for example, source in zip(examples, reader.sources(examples), strict=True):
            if reader.needed(len(source), reader.max_target_tokens) > reader.places:
                out = "" if split in HELD_OUT else f", or leave it out: task.max_source_tokens={room} and {DROP}"
                raise DataError(
                    f"the source of {split} example {example.id!r} has {len(source)} tokens and "
                    f"task.max_target_tokens is {reader.max_target_tokens}, but a network of the recipe has places for "
                    f"{reader.places}{'' if reader.is_encoder_decoder else ', source and target together'}; lower "
                    f"task.max_target_tokens, or use a network with more places{out}"
                )


def _refuse_long_references(data: TaskData, reader: Reader) -> None:
    """Let pass only dev and test whose references a network has places for.

    A reference may be longer than any text that is written, but its likelihood asks for all of it.

    Raises:
        DataError: naming the first that has none, and the ways out.
    """
    if reader.places is None:
        return
    for split in HELD_OUT:
        examples: Sequence[Example] = getattr(data, split)
        for example, source in zip(examples, reader.sources(examples), strict=True):
            longest = max(map(len, reader.targets(example.targets)), default=0)
            if reader.needed(len(source), longest) > reader.places:
                raise DataError(
                    f"{split} example {example.id!r} has a reference of {longest} tokens, and a network of the recipe "
                    f"has places for {reader.places}, so nll cannot be told of it; take nll out of task.metrics, use a "
                    f"network with more places, or, if it is built from scratch, raise task.max_target_tokens to "
                    f"{longest}"
                )


def fitted(bench: Bench, data: TaskData, readers: Iterable[Reader]) -> tuple[Bench, TaskData]:
    """What of the task all readers can read whole, and a bench that knows it.

    Raises:
        DataError: as `fitting`.
    """
    readers = tuple(readers)
    data, dropped = fitting(data, readers, policy=bench.recipe.task.long_sources)
    for reader in readers:
        _refuse_without_places(data, reader)
        if "nll" in bench.recipe.task.metrics:
            _refuse_long_references(data, reader)
    for split, count in dropped.items():
        if count:
            bench.progress.log(f"{count} {split} examples are over the length limits and take no part")
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
    remedy = "" if split in HELD_OUT else f", or set {DROP} to leave such training examples out"
    raise DataError(
        f"the {side} of {split} example {first.id!r} has {longest} tokens and task.max_{side}_tokens is {limit}: its "
        f"end would be cut, as would that of {len(indices) - 1} more in {split}. Raise task.max_{side}_tokens{remedy}"
    )
