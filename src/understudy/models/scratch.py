"""Students that start from nothing: a network of a known architecture with random weights.

The architectures are a table; their settings are plain numbers. Pretrained networks are loaded in
`checkpoint`, pruned ones are cut in `prune`.
"""

from collections.abc import Callable, Mapping

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
)

from understudy.config.model_sections import Architecture, Scratch
from understudy.errors import ModelError


def build_network(
    scratch: Scratch, tokenizer: PreTrainedTokenizerBase, *, max_positions: int, seed: int
) -> PreTrainedModel:
    """A network with random weights, its input and output embeddings tied.

    Args:
        scratch: its architecture and sizes.
        tokenizer: gives the size of the vocabulary and the special ids; its bos token starts every
            target of an encoder-decoder.
        max_positions: the longest text in tokens; for decoder-only source and target together. T5
            has relative positions and no limit.
        seed: equal seeds give equal weights; torch's global generator is left as it was.

    Raises:
        ModelError: for a tokenizer without the special tokens.
    """
    special = _special_ids(tokenizer)
    if scratch.has_encoder:
        special["decoder_start_token_id"] = special["bos_token_id"]
    config = ARCHITECTURES[scratch.architecture](scratch, max_positions)
    config.update({**special, "vocab_size": len(tokenizer), "tie_word_embeddings": True})
    auto_class = AutoModelForSeq2SeqLM if scratch.has_encoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto_class.from_config(config)
    # Nothing but the ids: a length, a penalty or a forced token left here would bend every engine's text.
    model.generation_config = GenerationConfig(**special)
    return model


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    missing = [name for name, value in ids.items() if value is None]
    if missing:
        raise ModelError(
            f"a network from scratch needs the tokenizer's bos, eos and pad token, but {', '.join(missing)} "
            "is not set; use a tokenizer trained by understudy, or set the token on yours"
        )
    return ids


def _bart(scratch: Scratch, max_positions: int) -> PretrainedConfig:
    """BART (Lewis et al. 2020, arXiv:1910.13461), post-norm."""
    return BartConfig(
        d_model=scratch.width,
        encoder_layers=scratch.encoder_layers,
        decoder_layers=scratch.decoder_layers,
        encoder_attention_heads=scratch.heads,
        decoder_attention_heads=scratch.heads,
        encoder_ffn_dim=scratch.feed_forward,
        decoder_ffn_dim=scratch.feed_forward,
        dropout=scratch.dropout,
        max_position_embeddings=max_positions,
        # Embeddings of variance 1/width, scaled by its root, as in Vaswani et al. 2017: a narrow network
        # learns much faster than with BART's own 0.02, which was chosen for width 1024.
        scale_embedding=True,
        init_std=scratch.width**-0.5,
        forced_eos_token_id=None,
        # CTranslate2's converter asks for it; BART itself knows only this layout.
        normalize_before=False,
    )


def _t5(scratch: Scratch, _max_positions: int) -> PretrainedConfig:
    """T5 (Raffel et al. 2020, arXiv:1910.10683): relative positions, pre-norm without bias."""
    return T5Config(
        d_model=scratch.width,
        d_kv=scratch.width // scratch.heads,
        d_ff=scratch.feed_forward,
        num_layers=scratch.encoder_layers,
        num_decoder_layers=scratch.decoder_layers,
        num_heads=scratch.heads,
        dropout_rate=scratch.dropout,
    )


def _gpt2(scratch: Scratch, max_positions: int) -> PretrainedConfig:
    """GPT-2 (Radford et al. 2019): learned positions, pre-norm."""
    return GPT2Config(
        n_embd=scratch.width,
        n_layer=scratch.decoder_layers,
        n_head=scratch.heads,
        n_inner=scratch.feed_forward,
        n_positions=max_positions,
        resid_pdrop=scratch.dropout,
        embd_pdrop=scratch.dropout,
        attn_pdrop=scratch.dropout,
    )


def _llama(scratch: Scratch, max_positions: int) -> PretrainedConfig:
    """Llama (Touvron et al. 2023, arXiv:2302.13971): rotary positions, gated feed-forward."""
    return LlamaConfig(
        hidden_size=scratch.width,
        num_hidden_layers=scratch.decoder_layers,
        num_attention_heads=scratch.heads,
        intermediate_size=scratch.feed_forward,
        max_position_embeddings=max_positions,
        attention_dropout=scratch.dropout,
    )


ARCHITECTURES: Mapping[Architecture, Callable[[Scratch, int], PretrainedConfig]] = {
    "bart": _bart,
    "t5": _t5,
    "gpt2": _gpt2,
    "llama": _llama,
}
"""An architecture's settings from its sizes and the longest text in tokens."""
