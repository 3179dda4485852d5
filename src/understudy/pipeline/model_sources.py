"""Where a network and its tokenizer come from before training: sizes, a checkpoint, another stage, or pruning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from understudy.config.model_sections import Prune, Scratch, SourceFormat
from understudy.models.checkpoint import load_network
from understudy.models.prune import prune
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import (
    TaskTokenizer,
    TextLimits,
    checkpoint_task_tokenizer,
    scratch_task_tokenizer,
)
from understudy.models.tokenizers import load_tokenizer
from understudy.models.vocabulary_rows import keep_rows
from understudy.pipeline.context import NETWORK
from understudy.store import Content, Stage, WorkerContext
from understudy.store.disk import checksums
from understudy.store.stage import content_key

KEPT_TOKENS = "kept_tokens.npy"
"""The file of a trimmed tokenizer's stage with the old ids of its tokens."""
Tokens = Content | Stage[Any]
"""A checkpoint, or a stage with a tokenizer in its network folder."""


@dataclass(frozen=True)
class TokenizerSource:
    """Whose tokens a network reads, and, for one built from sizes, which architecture reads them."""

    tokens: Tokens
    scratch: Scratch | None = None
    format: SourceFormat | None = None
    """How a decoder-only checkpoint reads a source; None: as its tokenizer says."""


@dataclass(frozen=True)
class FromScratch:
    """A network built from sizes with random weights."""

    scratch: Scratch
    tokens: Tokens
    seed: int


@dataclass(frozen=True)
class FromCheckpoint:
    """A pretrained network."""

    checkpoint: Tokens
    format: SourceFormat | None = None
    """As in `TokenizerSource`."""
    vocabulary: Stage[Any] | None = None
    """The stage of the tokenizer to which the vocabulary is trimmed; None: it stays whole."""


@dataclass(frozen=True)
class FromStage:
    """The network of a finished stage."""

    network: Stage[Any]


@dataclass(frozen=True)
class FromPruned:
    """The network of a finished stage with fewer layers."""

    network: Stage[Any]
    prune: Prune
    vocabulary: Stage[Any] | None = None
    """As in `FromCheckpoint`."""


ModelSource = FromScratch | FromCheckpoint | FromStage | FromPruned


def checkpoint_content(name_or_path: str) -> Content:
    """A checkpoint as content: a local folder by its files, one of the hub by its name."""
    folder = Path(name_or_path)
    if folder.is_dir():
        return Content(content_key(checksums(folder)), str(folder.resolve()))
    return Content(f"hub:{name_or_path}", name_or_path)


def checkpoint_path(tokens: Tokens, context: WorkerContext) -> str:
    """A local folder or a hub name from which transformers loads."""
    if isinstance(tokens, Stage):
        return str(context.folder(tokens) / NETWORK)
    return tokens.place


def tokenizer_source(source: ModelSource) -> TokenizerSource:
    """Whose tokens the network of a source reads."""
    match source:
        case FromScratch(scratch=scratch, tokens=tokens):
            return TokenizerSource(tokens, scratch)
        case FromCheckpoint(checkpoint=checkpoint, format=chosen, vocabulary=vocabulary):
            return TokenizerSource(vocabulary or checkpoint, format=chosen)
        case FromPruned(network=network, vocabulary=vocabulary):
            return TokenizerSource(vocabulary or network)
        case FromStage(network=network):
            return TokenizerSource(network)


def load_task_tokenizer(
    source: ModelSource | TokenizerSource, limits: TextLimits, context: WorkerContext
) -> TaskTokenizer:
    """How the network of a source reads the task; no weights are loaded.

    Raises:
        ModelError: if the checkpoint is missing or has no tokenizer.
    """
    own = source if isinstance(source, TokenizerSource) else tokenizer_source(source)
    path = checkpoint_path(own.tokens, context)
    if own.scratch:
        return scratch_task_tokenizer(limits, own.scratch, load_tokenizer(path))
    return checkpoint_task_tokenizer(limits, path, own.format)


def load_source(source: ModelSource, tokenizer: TaskTokenizer, context: WorkerContext) -> PreTrainedModel:
    """The network of a source, on the CPU in float32.

    Raises:
        ModelError: if it cannot be built, loaded or pruned.
    """
    match source:
        case FromScratch(scratch=scratch, seed=seed):
            return build_network(scratch, tokenizer.tokenizer, max_positions=tokenizer.longest, seed=seed)
        case FromCheckpoint(checkpoint=checkpoint, vocabulary=vocabulary):
            return with_vocabulary(load_network(checkpoint_path(checkpoint, context)), vocabulary, context)
        case FromStage(network=stage):
            return load_stage_network(stage, context)
        case FromPruned(network=stage, prune=settings, vocabulary=vocabulary):
            whole = load_stage_network(stage, context)
            pruned = prune(whole, encoder_layers=settings.encoder_layers, decoder_layers=settings.decoder_layers)
            return with_vocabulary(pruned, vocabulary, context)


def load_stage_network(stage: Stage[Any], context: WorkerContext) -> PreTrainedModel:
    """The network that a finished stage holds, on the CPU in float32."""
    return load_network(str(context.folder(stage) / NETWORK))


def with_vocabulary(network: PreTrainedModel, vocabulary: Stage[Any] | None, context: WorkerContext) -> PreTrainedModel:
    """The network with the rows of the tokens that a trimmed tokenizer keeps."""
    if vocabulary is None:
        return network
    return keep_rows(network, np.load(context.folder(vocabulary) / KEPT_TOKENS).tolist())
