"""The examples of a task that all models can read and write completely, within the limits of its settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from understudy.columns import BLOCK_ROWS, Examples
from understudy.errors import DataError
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, TaskData

TRAIN_SPLITS = "labeled", "unlabeled", "withheld"
EVAL_SPLITS = "dev", "test"
DROP = "task.long_sources=drop"


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
            if not tokenizer.limits_sources:
                long_sources = long_sources[:0]
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
                remedy = "" if split in EVAL_SPLITS else drop
                if not tokenizer.limits_sources:
                    remedy = ", or give the teacher a shorter prompt or system turn, or fewer demonstrations"
                what = "source" if tokenizer.limits_sources else "teacher's prompt with the source"
                raise DataError(
                    f"the {what} of {split} example {getattr(data, split)[row].id!r} has {source} tokens and "
                    f"task.max_target_tokens is {longest}, but a model of the recipe has {limit} positions"
                    f"{'' if tokenizer.is_encoder_decoder else ' for source and target together'}; lower "
                    f"task.max_target_tokens, or use a model with more positions{remedy}"
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
