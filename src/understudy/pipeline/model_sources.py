"""Where a network and its tokenizer come from before training: sizes, a checkpoint, another stage, or pruning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from understudy.config.model_sections import Prune, Scratch, SourceFormat
from understudy.errors import ModelError
from understudy.executors.local import Local
from understudy.models.checkpoint import load_network
from understudy.models.feed_forward import first_neurons, narrowed
from understudy.models.gguf import is_gguf
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
from understudy.pipeline.context import NETWORK, RunContext
from understudy.pipeline.stages.gguf import GgufStage
from understudy.store import Content, Stage, WorkerContext
from understudy.store.disk import checksum, checksums, read_json
from understudy.store.manifest import parse
from understudy.store.stage import content_key

Checkpoint = Content | GgufStage
"""In the Hugging Face layout, or a GGUF file that was read."""
KEPT_TOKENS = "kept_tokens.npy"
"""The file of a trimmed tokenizer's stage with the old ids of its tokens."""
NEURONS = "neurons.json"
"""File of a stage with the neurons of the feed-forward layers that a pruned network keeps."""
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
    order: Stage[Any] | None = None
    """The layers that the loss misses least; None: `prune` says which are kept."""
    neurons: Stage[Any] | None = None
    """The neurons of the feed-forward layers that are kept; None: all."""


ModelSource = FromScratch | FromCheckpoint | FromStage | FromPruned


def checkpoint_content(name_or_path: str) -> Content:
    """A checkpoint as content: a local folder by its files, one of the hub by its name."""
    folder = Path(name_or_path)
    if folder.is_dir():
        return Content(content_key(checksums(folder)), str(folder.resolve()))
    return Content(f"hub:{name_or_path}", name_or_path)


def pretrained_checkpoint(name_or_path: str, context: RunContext) -> Checkpoint:
    """A pretrained checkpoint; a GGUF file is read now, which its config and its tokenizer need.

    Raises:
        ModelError: if it is a GGUF file that is missing or cannot be read.
    """
    if not is_gguf(name_or_path):
        return checkpoint_content(name_or_path)
    file = Path(name_or_path)
    if not file.is_file():
        raise ModelError(
            f"there is no file {name_or_path!r}; give the path of a GGUF file, a folder, or a name on the hub"
        )
    stage = GgufStage(Content(checksum(file), str(file.resolve())))
    context.store.get(stage, Local(), context)
    return stage


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
        case FromPruned(network=stage, prune=settings, vocabulary=vocabulary, order=order, neurons=neurons):
            kept: dict[str, Any] = {"encoder": settings.encoder_layers, "decoder": settings.decoder_layers}
            if order:
                kept |= context.facts(order).order.kept
            whole = load_stage_network(stage, context)
            pruned = prune(whole, encoder_layers=kept["encoder"], decoder_layers=kept["decoder"])
            if neurons is not None:
                path = context.folder(neurons) / NEURONS
                pruned = narrowed(pruned, parse(dict[str, list[int]], read_json(path), path))
            return with_vocabulary(pruned, vocabulary, context)


def pruned_for_size(network: PreTrainedModel, settings: Prune) -> PreTrainedModel:
    """A network of the size that the settings give, where it does not matter which layers and neurons it has.

    Raises:
        ModelError: if there are fewer than requested, or they are not found.
    """
    pruned = prune(network, encoder_layers=settings.encoder_layers, decoder_layers=settings.decoder_layers)
    return narrowed(pruned, first_neurons(pruned, settings.feed_forward)) if settings.feed_forward else pruned


def load_stage_network(stage: Stage[Any], context: WorkerContext, *, bf16: bool | None = None) -> PreTrainedModel:
    """The network that a finished stage holds, on the CPU; weights in float32, or rounded to bfloat16."""
    return load_network(str(context.folder(stage) / NETWORK), dtype=torch.bfloat16 if bf16 else torch.float32)


def with_vocabulary(network: PreTrainedModel, vocabulary: Stage[Any] | None, context: WorkerContext) -> PreTrainedModel:
    """The network with the rows of the tokens that a trimmed tokenizer keeps."""
    if vocabulary is None:
        return network
    return keep_rows(network, np.load(context.folder(vocabulary) / KEPT_TOKENS).tolist())
