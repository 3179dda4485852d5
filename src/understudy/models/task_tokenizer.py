"""How a model of a run reads a task: its tokenizer, the prompt and the length limits.

This module depends on the task's settings and on records. It loads configs and tokenizers, no weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from understudy.columns import BLOCK_ROWS, Examples
from understudy.config.model_sections import Scratch, SourceFormat
from understudy.errors import DataError, ModelError
from understudy.models.checkpoint import config_of, max_positions
from understudy.models.scratch import ARCHITECTURES
from understudy.models.text import (
    decode,
    encode_sources,
    encode_targets,
    saved_source_format,
    set_source_format,
)
from understudy.models.tokenizers import load_tokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, TaskData

TRAIN_SPLITS = "labeled", "unlabeled", "withheld"
EVAL_SPLITS = "dev", "test"
DROP = "task.long_sources=drop"


@dataclass(frozen=True)
class TextLimits:
    """The settings of a task that decide what a model reads and generates."""

    prompt: str
    """`{source}` stands for the input."""
    max_source_tokens: int
    max_target_tokens: int


@dataclass(frozen=True)
class TaskTokenizer:
    """Converts the task's texts to token ids of one model, and back."""

    tokenizer: PreTrainedTokenizerBase
    is_encoder_decoder: bool
    prompt: str
    max_source_tokens: int
    max_target_tokens: int
    max_positions: int | None = None
    """Positions of the model, of source and target together if it is decoder-only; None: no limit."""

    @property
    def longest(self) -> int:
        """The most tokens of a source and its target together: the positions of a model built from scratch."""
        return self.max_source_tokens + self.max_target_tokens

    @property
    def pad_id(self) -> int:
        """The id that pads batches. Padding is masked everywhere, so any id serves if the tokenizer has none."""
        return int(self.tokenizer.pad_token_id or 0)

    def needed_positions(self, source: int, target: int) -> int:
        """Positions that a source and a target of so many tokens need; a target's last token is not read."""
        return max(source, target) if self.is_encoder_decoder else source + target - 1

    def encode_sources(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids of the sources after the prompt template is applied, of any length."""
        texts = [self.prompt.replace("{source}", example.source) for example in examples]
        return encode_sources(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder)

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of target texts, of any length."""
        return encode_targets(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated token ids."""
        return decode(self.tokenizer, token_ids)


def checkpoint_task_tokenizer(
    limits: TextLimits, name_or_path: str, source_format: SourceFormat | None = None
) -> TaskTokenizer:
    """The task tokenizer of a checkpoint, on disk or on the hub.

    Args:
        limits: of the task.
        name_or_path: of the checkpoint.
        source_format: how a decoder-only model reads a source; None: as its tokenizer says.

    Raises:
        ModelError: if there is no checkpoint, or it has no tokenizer.
    """
    config, tokenizer = config_of(name_or_path), load_tokenizer(name_or_path)
    if source_format:
        set_source_format(tokenizer, source_format)
    return TaskTokenizer(
        tokenizer,
        bool(config.is_encoder_decoder),
        limits.prompt,
        limits.max_source_tokens,
        limits.max_target_tokens,
        max_positions(config),
    )


def choose_source_format(
    name_or_path: str, requested: Literal["auto"] | SourceFormat, *, trained: bool
) -> SourceFormat | None:
    """How a checkpoint reads a source; None for an encoder-decoder, which reads it apart from the target.

    Args:
        name_or_path: of the checkpoint.
        requested: `auto` is the format saved with the tokenizer if there is one, else chat if the tokenizer has a chat
            template, else separator for a model that is trained and none for one that is used as it is: such a model
            saw no separator before, and after an end-of-sequence token it generates nothing.
        trained: whether the model is trained on the task.

    Raises:
        ModelError: for a format other than `auto` if the model is an encoder-decoder.
    """
    if config_of(name_or_path).is_encoder_decoder:
        if requested != "auto":
            raise ModelError(
                f"template is {requested!r}, but {name_or_path!r} is an encoder-decoder, which reads the source apart "
                "from the target; leave template out"
            )
        return None
    if requested != "auto":
        return requested
    tokenizer = load_tokenizer(name_or_path)
    if (saved := saved_source_format(tokenizer)) is not None:
        return saved
    return "chat" if tokenizer.chat_template else "separator" if trained else "none"


def scratch_task_tokenizer(limits: TextLimits, scratch: Scratch, tokenizer: PreTrainedTokenizerBase) -> TaskTokenizer:
    """The task tokenizer of a model that will be built from scratch for the task."""
    if not scratch.has_encoder:
        set_source_format(tokenizer, "separator")
    own = TaskTokenizer(
        tokenizer, scratch.has_encoder, limits.prompt, limits.max_source_tokens, limits.max_target_tokens
    )
    return replace(own, max_positions=max_positions(ARCHITECTURES[scratch.architecture](scratch, own.longest)))


def filter_by_length(
    data: TaskData,
    tokenizers: Iterable[TaskTokenizer],
    *,
    policy: str,
    with_likelihood: bool,
    progress: ProgressCallback = NO_PROGRESS,
) -> tuple[TaskData, dict[str, int]]:
    """The examples of a task that all models can read without truncation.

    Args:
        data: the task.
        tokenizers: of the teacher and the student.
        policy: what happens to training examples over a limit, "refuse" or "drop". Dev and test sources over the
            limit are always refused: a score covers all inputs.
        with_likelihood: whether the likelihood of dev and test references will be computed, which needs
            positions for all their tokens.
        progress: is called with the number of examples that were tokenized, once for each tokenizer.

    Returns:
        The task, and the number of dropped examples of each training split.

    Raises:
        DataError: with the first example over a limit, the limit, and what can be done.
    """
    dropped: dict[str, int] = {}
    lengths: list[tuple[TaskTokenizer, dict[str, TokenCounts]]] = []
    for tokenizer in tokenizers:
        own: dict[str, TokenCounts] = {}
        for split in (*EVAL_SPLITS, *TRAIN_SPLITS):
            examples: Sequence[Example] = getattr(data, split)
            found = own[split] = _lengths(examples, tokenizer, progress)
            long_sources = np.flatnonzero(found.sources > tokenizer.max_source_tokens)
            if policy == "refuse" or split in EVAL_SPLITS:
                _refuse(split, "source", examples, tokenizer, long_sources)
            if split in EVAL_SPLITS:
                continue
            long_targets = np.flatnonzero(found.targets > tokenizer.max_target_tokens)
            if policy == "refuse":
                _refuse(split, "target", examples, tokenizer, long_targets)
            over = np.union1d(long_sources, long_targets)
            dropped[split] = dropped.get(split, 0) + len(over)
            data = replace(data, **{split: Examples.of(examples).without(over)})
            own[split] = found.without(over)
            for _, before in lengths:
                before[split] = before[split].without(over)
        lengths.append((tokenizer, own))
    for tokenizer, own in lengths:
        _refuse_without_positions(data, tokenizer, own)
        if with_likelihood:
            _refuse_long_references(data, tokenizer, own)
    return data, dropped


@dataclass(frozen=True)
class TokenCounts:
    """Number of tokens of the source and of the longest target of each example; 0 where it has no target."""

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]

    def without(self, rows: NDArray[np.int64]) -> "TokenCounts":
        """The lengths of the other examples."""
        return TokenCounts(np.delete(self.sources, rows), np.delete(self.targets, rows))


def _lengths(examples: Sequence[Example], tokenizer: TaskTokenizer, progress: ProgressCallback) -> TokenCounts:
    """The lengths of examples, of which only `BLOCK_ROWS` are token ids at a time."""
    sources, targets = np.zeros(len(examples), np.int64), np.zeros(len(examples), np.int64)
    for start in range(0, len(examples), BLOCK_ROWS):
        block = examples[start : start + BLOCK_ROWS]
        rows = iter(map(len, tokenizer.encode_targets([text for example in block for text in example.targets])))
        sources[start : start + len(block)] = [len(row) for row in tokenizer.encode_sources(block)]
        targets[start : start + len(block)] = [
            max([next(rows) for _ in example.targets], default=0) for example in block
        ]
        progress(len(block))
    return TokenCounts(sources, targets)


def _refuse_without_positions(data: TaskData, tokenizer: TaskTokenizer, lengths: Mapping[str, TokenCounts]) -> None:
    """Raise DataError if a model has too few positions for a source and the longest text it may generate."""
    limit = tokenizer.max_positions
    if limit is None:
        return
    longest = tokenizer.max_target_tokens
    source_limit = limit if tokenizer.is_encoder_decoder else limit - longest + 1
    for split in (*TRAIN_SPLITS, *EVAL_SPLITS):
        for row, source in enumerate(lengths[split].sources):
            if tokenizer.needed_positions(source, longest) > limit:
                drop = f", or drop it: task.max_source_tokens={source_limit} and {DROP}"
                raise DataError(
                    f"the source of {split} example {getattr(data, split)[row].id!r} has {source} tokens and "
                    f"task.max_target_tokens is {longest}, but a model of the recipe has {limit} positions"
                    f"{'' if tokenizer.is_encoder_decoder else ' for source and target together'}; lower "
                    f"task.max_target_tokens, or use a model with more positions{'' if split in EVAL_SPLITS else drop}"
                )


def _refuse_long_references(data: TaskData, tokenizer: TaskTokenizer, lengths: Mapping[str, TokenCounts]) -> None:
    """Raise DataError if a model has too few positions for a dev or test reference.

    A reference may be longer than any generated text, but its likelihood needs all of it.
    """
    limit = tokenizer.max_positions
    if limit is None:
        return
    for split in EVAL_SPLITS:
        for row, (source, longest) in enumerate(zip(lengths[split].sources, lengths[split].targets, strict=True)):
            if tokenizer.needed_positions(source, longest) > limit:
                raise DataError(
                    f"{split} example {getattr(data, split)[row].id!r} has a reference of {longest} tokens, and a "
                    f"model of the recipe has {limit} positions, so its nll cannot be computed; remove nll from "
                    "task.metrics, use a model with more positions, or, if it is built from scratch, raise "
                    f"task.max_target_tokens to {longest}"
                )


def _refuse(
    split: str, side: str, examples: Sequence[Example], tokenizer: TaskTokenizer, indices: NDArray[np.int64]
) -> None:
    """Raise DataError if any example is over the limit, naming the first."""
    if not len(indices):
        return
    first = examples[int(indices[0])]
    is_source = side == "source"
    limit = tokenizer.max_source_tokens if is_source else tokenizer.max_target_tokens
    rows = tokenizer.encode_sources([first]) if is_source else tokenizer.encode_targets(first.targets)
    remedy = "" if split in EVAL_SPLITS else f", or set {DROP} to leave such training examples out"
    raise DataError(
        f"the {side} of {split} example {first.id!r} has {max(map(len, rows))} tokens and task.max_{side}_tokens is "
        f"{limit}: its end would be cut, as would that of {len(indices) - 1} more in {split}. Raise "
        f"task.max_{side}_tokens{remedy}"
    )
