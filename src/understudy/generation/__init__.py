"""Text from networks: one protocol, `Engine`, and the engines that keep it.

Token ids in, token ids out. Knows no tasks and no texts, and does not load networks.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import DiverseBeam, EngineName, PoolDecoding
from understudy.errors import GenerationError, unknown_name
from understudy.generation.convert import FAMILIES, rotary_type, supported
from understudy.generation.ctranslate import CTranslate2Engine
from understudy.generation.engine import Engine, no_groups
from understudy.generation.hf import HuggingFaceEngine

__all__ = ["ENGINES", "Engine", "engine_for", "open_engine", "supported"]


def engine_for(kind: EngineName, decoding: PoolDecoding) -> EngineName:
    """The engine to open for a decoding: the one asked for, but hf instead of auto where no other has the decoding.

    Raises:
        GenerationError: if the engine asked for does not have the decoding.
    """
    if not isinstance(decoding, DiverseBeam):
        return kind
    if kind == "ctranslate2":
        raise no_groups()
    return "hf"


@contextmanager
def open_engine(
    kind: EngineName,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    threads: int | None = None,
) -> Iterator[Engine]:
    """An engine that draws from this network, while the context lasts.

    `hf` follows the network as it is trained on; `ctranslate2` holds the weights of the moment.

    Args:
        kind: a key of `ENGINES`, or `auto`: ctranslate2 where it supports the network, else hf.
        model: the network; it draws on the device it is on.
        tokenizer: the network's own.
        threads: CPU threads; None: the library's choice.

    Raises:
        GenerationError: if the engine does not support the network.
        ConfigError: for an unknown engine.
    """
    chosen: str = kind
    if kind == "auto":
        chosen = "ctranslate2" if supported(model) else "hf"
    if chosen not in ENGINES:
        raise unknown_name("engine", chosen, ["auto", *ENGINES])
    with ENGINES[chosen](model, tokenizer, threads) as engine:
        yield engine


@contextmanager
def _hf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, threads: int | None) -> Iterator[HuggingFaceEngine]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield HuggingFaceEngine(model, tokenizer)
    finally:
        torch.set_num_threads(before)


@contextmanager
def _ctranslate2(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, threads: int | None
) -> Iterator[CTranslate2Engine]:
    if not supported(model):
        raise GenerationError(
            f"engine 'ctranslate2' was asked for, but it does not support a {model.config.model_type!r} network "
            f"with {rotary_type(model)!r} rotary embeddings (it supports {', '.join(FAMILIES)}, the embeddings "
            "'default'); engine 'hf' would work, and 'auto' chooses it"
        )
    with tempfile.TemporaryDirectory() as folder:
        yield CTranslate2Engine(model, tokenizer, Path(folder), threads=threads)


ENGINES: dict[
    str,
    Callable[
        [PreTrainedModel, PreTrainedTokenizerBase, int | None],
        AbstractContextManager[HuggingFaceEngine | CTranslate2Engine],
    ],
] = {"hf": _hf, "ctranslate2": _ctranslate2}
