"""Models built from scratch: a known architecture with random weights.

Their configs are in `scratch_configs`, the table of architectures is `families.FAMILIES`. Pretrained models are loaded
in `checkpoint`, pruned ones are made in `prune`.
"""

from collections.abc import Callable, Mapping

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from understudy.config.model_sections import Scratch
from understudy.errors import ModelError
from understudy.models.families import FAMILIES

ARCHITECTURES: Mapping[str, Callable[[Scratch, int], PretrainedConfig]] = {
    name: family.scratch for name, family in FAMILIES.items() if family.scratch
}
"""Architecture -> its config from its sizes and the maximum length in tokens."""


def build_network(
    scratch: Scratch, tokenizer: PreTrainedTokenizerBase, *, max_positions: int, seed: int
) -> PreTrainedModel:
    """A model with random weights and tied input and output embeddings.

    Args:
        scratch: architecture and sizes.
        tokenizer: determines the size of the vocabulary and the special ids; its bos token starts every
            target of an encoder-decoder.
        max_positions: the maximum length in tokens, of source and target together for decoder-only
            models. T5 has relative positions and no limit.
        seed: equal seeds give equal weights; torch's global generator does not change.

    Raises:
        ModelError: if the tokenizer lacks a bos, eos or pad token.
    """
    special = special_ids(tokenizer)
    if scratch.has_encoder:
        special["decoder_start_token_id"] = special["bos_token_id"]
    config = ARCHITECTURES[scratch.architecture](scratch, max_positions)
    config.update({**special, "vocab_size": len(tokenizer), "tie_word_embeddings": True})
    auto_class = AutoModelForSeq2SeqLM if scratch.has_encoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto_class.from_config(config)
    # Only the ids: a length, a penalty or a forced token here would change what every engine generates.
    model.generation_config = GenerationConfig(**special)
    return model


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The bos, eos and pad ids that a model built from scratch needs.

    Raises:
        ModelError: if the tokenizer lacks one of them.
    """
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    missing = [name for name, value in ids.items() if value is None]
    if missing:
        raise ModelError(
            f"a model built from scratch needs the tokenizer's bos, eos and pad token, but {', '.join(missing)} "
            "is not set; use a tokenizer trained by understudy, or set the token on yours"
        )
    return ids
