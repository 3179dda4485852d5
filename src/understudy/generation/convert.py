"""From a live network to CTranslate2's files: which families, and where its converter needs help.

Drawing text with the result is `ctranslate`.
"""

import copy
from itertools import chain
from pathlib import Path

import torch
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import _MODEL_LOADERS
from ctranslate2.specs.model_spec import OPTIONAL, ModelSpec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAMILIES = ("bart", "gpt2", "llama", "mistral", "mt5", "opt", "pegasus", "qwen2", "qwen3", "t5")
"""The `model_type`s whose texts a test holds equal to those of transformers.

The converter takes more, but with transformers 5 it gets Gemma 2 and every scaled rotary embedding
(Llama 3.1) wrong without a word, and mBART and Marian not at all.
"""

_LAYOUTS = {
    "bart": {"normalize_before": False, "normalize_embedding": True},
    "pegasus": {"normalize_before": True, "normalize_embedding": False},
}


def supported(model: PreTrainedModel) -> bool:
    """Whether CTranslate2 writes what this network would write."""
    return model.config.model_type in FAMILIES and rotary_type(model) == "default"


def rotary_type(model: PreTrainedModel) -> str:
    """How the network scales its rotary embeddings; `default` where it does not, or has none."""
    rotary = getattr(model.config, "rope_parameters", None) or {}
    return str(rotary.get("rope_type", "default"))


def convert(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """Write the network as CTranslate2 files, its weights in their own type.

    Args:
        model: of a supported family; left as it was.
        tokenizer: the network's own.
        folder: made anew.

    Returns:
        The name of every token by id, as CTranslate2 knows it.
    """
    tokens = [f"<row {row}>" for row in range(model.get_output_embeddings().weight.shape[0])]
    for token, token_id in tokenizer.get_vocab().items():
        tokens[token_id] = token
    _Live(model, tokenizer, tokens).convert(str(folder), force=True)
    return tokens


class _Live(Converter):  # type: ignore[misc]
    """The library's converter, but for a network in memory instead of a checkpoint on disk."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._tokens = tokens

    def _load(self) -> ModelSpec:
        model = _skeleton(self._model)
        config = model.config
        # The converter reads it; the configs of some checkpoints lack it, and transformers ignores it.
        config.update(_LAYOUTS.get(config.model_type, {}))
        loader = _MODEL_LOADERS[type(config).__name__]
        with torch.no_grad():
            spec = loader.get_model_spec(model)
        loader.set_config(spec.config, model, self._tokenizer)
        # Not the loader's own list: it knows nothing of embeddings with more rows than there are tokens.
        loader.set_vocabulary(spec, self._tokens)
        if config.model_type in ("t5", "mt5") and not getattr(config, "scale_decoder_outputs", False):
            # transformers 5 calls the embeddings of T5 1.1, Flan-T5 and mT5 tied, too; the converter concludes
            # that outputs are scaled, which would flatten every distribution.
            spec.decoder.scale_outputs = OPTIONAL
        return spec


def _skeleton(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules over the same weights: some loaders delete the layers that they have read."""
    weights = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in weights})
