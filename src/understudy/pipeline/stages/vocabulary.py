"""The stage of a tokenizer trimmed to the tokens that the task's texts use most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from understudy.columns import BLOCK_ROWS, Examples
from understudy.models.checkpoint import config_of, parameter_count, without_weights
from understudy.models.generation_format import checkpoint_format
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.models.tokenizers import load_tokenizer
from understudy.models.vocabulary import kept_tokens, save_trimmed, shared_tokens
from understudy.models.vocabulary_rows import named_tokens, trimmed_config, trimmed_format
from understudy.pipeline.context import NETWORK
from understudy.pipeline.model_sources import KEPT_TOKENS, TokenizerSource, checkpoint_path, load_task_tokenizer
from understudy.pipeline.stages.data import DataStage, load_split, read_data
from understudy.pool.pool import PseudoTargetPool
from understudy.progress import NO_PROGRESS, ProgressCallback, track_many
from understudy.records import Example
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class VocabularyFacts:
    """What trimming saves, and what it costs on dev, whose texts had no part in the choice of the tokens."""

    tokens: int
    whole_tokens: int
    parameters: int
    whole_parameters: int
    tokens_per_text: float
    whole_tokens_per_text: float
    coverage: float
    """Share of the whole tokenizer's tokens of dev that are kept."""


@dataclass(frozen=True)
class VocabularyStage(Stage[VocabularyFacts]):
    """A trimmed tokenizer with the config of its network, and which tokens of the whole one it keeps.

    They are chosen on the sources and targets that training may see, as a tokenizer is trained on them: dev and test
    stay unseen. The network is trimmed when it is loaded.
    """

    whole: TokenizerSource
    data: DataStage
    reads: tuple[TextLimits, ...]
    """The prompt of the task, and that of a teacher which has its own."""
    vocab_size: int
    with_withheld: bool
    """Whether the labels that are hidden from the student are used, as by a teacher with `labels: all`."""
    like: "VocabularyStage | None" = None
    """The trimmed tokenizer of a teacher with the same tokens, which are then kept here too."""
    responses: Stage[Any] | None = None
    """The texts of an API teacher, which the student learns."""
    name: ClassVar[str] = "vocabulary"

    def run(self, folder: Path, context: WorkerContext) -> VocabularyFacts:
        """Chooses the tokens, and saves the tokenizer with the config and the kept ids.

        Raises:
            ModelError: if the tokenizer is of a kind that cannot be trimmed, or `vocab_size` is too small.
        """
        path = checkpoint_path(self.whole.tokens, context)
        whole = load_task_tokenizer(self.whole, self.reads[0], context)
        config, settings = config_of(path), checkpoint_format(path)
        kept = self._kept(whole, named_tokens(config, settings), context)
        network, trimmed = folder / NETWORK, trimmed_config(config, kept)
        own = replace(whole, tokenizer=save_trimmed(whole.tokenizer, kept, network))
        trimmed.save_pretrained(network)
        trimmed_format(settings, kept).save_pretrained(network)
        np.save(folder / KEPT_TOKENS, np.array(kept, np.int64))
        dev = load_split(context.folder(self.data), "dev")
        before, after = token_counts(whole, dev), token_counts(own, dev)
        texts = max(1, len(dev) + sum(len(example.targets) for example in dev))
        facts = VocabularyFacts(
            tokens=len(kept),
            whole_tokens=len(whole.tokenizer),
            parameters=parameter_count(without_weights(trimmed)),
            whole_parameters=parameter_count(without_weights(config)),
            tokens_per_text=float(after.sum()) / texts,
            whole_tokens_per_text=float(before.sum()) / texts,
            coverage=float(before[kept].sum() / max(1, before.sum())),
        )
        context.progress.log(
            f"the vocabulary is trimmed from {facts.whole_tokens:,} to {facts.tokens:,} tokens, the network from "
            f"{facts.whole_parameters / 1e6:,.1f} to {facts.parameters / 1e6:,.1f} million parameters"
        )
        return facts

    def _kept(self, whole: TaskTokenizer, named: set[int], context: WorkerContext) -> list[int]:
        if self.like:
            return shared_tokens(whole.tokenizer, load_tokenizer(str(context.folder(self.like) / NETWORK)))
        task = read_data(context.folder(self.data))
        seen = Examples.joined(task.labeled, task.unlabeled, task.withheld if self.with_withheld else ())
        if self.responses:
            texts = PseudoTargetPool.open(context.folder(self.responses)).texts
            seen = Examples.joined(seen, (Example("", "", (text,)) for text in texts))
        with track_many(context.progress, "count the tokens of the texts", len(seen), "input") as progress:
            counts = token_counts(whole, seen, progress)
        for limits in self.reads[1:]:
            counts += token_counts(load_task_tokenizer(self.whole, limits, context), seen)
        needed = named & set(whole.tokenizer.get_vocab().values())
        return kept_tokens(whole.tokenizer, counts, vocab_size=self.vocab_size, needed=needed)


def token_counts(
    tokenizer: TaskTokenizer, examples: Sequence[Example], progress: ProgressCallback = NO_PROGRESS
) -> NDArray[np.int64]:
    """How often the sources and targets of these examples have each token id."""
    size = max(tokenizer.tokenizer.get_vocab().values()) + 1
    counts = np.zeros(size, np.int64)
    for start in range(0, len(examples), BLOCK_ROWS):
        block = examples[start : start + BLOCK_ROWS]
        rows = tokenizer.encode_sources(block)
        rows += tokenizer.encode_targets([text for example in block for text in example.targets])
        counts += np.bincount(np.array([token_id for row in rows for token_id in row], np.int64), minlength=size)
        progress(len(block))
    return counts
