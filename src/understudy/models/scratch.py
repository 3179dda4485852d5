"""Students that start from nothing: a network of a known architecture with random weights.

The architectures are a table; their settings are plain numbers. Pretrained networks are loaded in
`checkpoint`, pruned ones are cut in `prune`.
"""

from collections.abc import Callable

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

from understudy.errors import ModelError, unknown_name


def build_network(
    architecture: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    width: int,
    encoder_layers: int | None,
    decoder_layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    max_positions: int,
    seed: int,
) -> PreTrainedModel:
    """A network with random weights, its input and output embeddings tied.

    Args:
        architecture: a key of `ARCHITECTURES`.
        tokenizer: gives the size of the vocabulary and the special ids; its bos token starts every
            target of an encoder-decoder.
        width: size of the hidden states; a multiple of `heads`.
        encoder_layers: at least 1 for an encoder-decoder, 0 or None for a decoder-only network.
        decoder_layers: at least 1.
        heads: attention heads of every layer.
        feed_forward: inner size of every feed-forward block.
        dropout: probability, on embeddings and on the output of every block (and on attention
            weights where the architecture knows no other place).
        max_positions: the longest text in tokens; for decoder-only source and target together. T5
            has relative positions and no limit.
        seed: equal seeds give equal weights; torch's global generator is left as it was.

    Raises:
        ModelError: for sizes that do not fit together or a tokenizer without the special tokens.
        ConfigError: for an unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise unknown_name("architecture", architecture, ARCHITECTURES)
    if width % heads:
        raise ModelError(
            f"student.scratch asks for width {width} and {heads} heads, but the width is divided among "
            f"the heads; use a width that is a multiple of {heads}"
        )
    configure, has_encoder = ARCHITECTURES[architecture]
    _refuse_layers(architecture, encoder_layers, decoder_layers, has_encoder=has_encoder)
    special = _special_ids(tokenizer)
    if has_encoder:
        special["decoder_start_token_id"] = special["bos_token_id"]
    config = configure(
        width=width,
        encoder_layers=encoder_layers or 0,
        decoder_layers=decoder_layers,
        heads=heads,
        feed_forward=feed_forward,
        dropout=dropout,
        max_positions=max_positions,
    )
    config.update({**special, "vocab_size": len(tokenizer), "tie_word_embeddings": True})
    auto_class = AutoModelForSeq2SeqLM if has_encoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto_class.from_config(config)
    # Nothing but the ids: a length, a penalty or a forced token left here would bend every engine's text.
    model.generation_config = GenerationConfig(**special)
    return model


def _refuse_layers(architecture: str, encoder_layers: int | None, decoder_layers: int, *, has_encoder: bool) -> None:
    if decoder_layers < 1:
        raise ModelError(f"student.scratch asks for {decoder_layers} decoder layers; it needs at least 1")
    if has_encoder and not encoder_layers:
        raise ModelError(
            f"student.scratch asks for {architecture!r}, an encoder-decoder, with {encoder_layers} encoder "
            "layers; set encoder_layers to at least 1, or use a decoder-only architecture"
        )
    if not has_encoder and encoder_layers:
        raise ModelError(
            f"student.scratch asks for {architecture!r} with {encoder_layers} encoder layers, but it is "
            "decoder-only; leave encoder_layers out, or use an encoder-decoder"
        )


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    missing = [name for name, value in ids.items() if value is None]
    if missing:
        raise ModelError(
            f"a network from scratch needs the tokenizer's bos, eos and pad token, but {', '.join(missing)} "
            "is not set; use a tokenizer trained by understudy, or set the token on yours"
        )
    return ids


def _bart(
    *,
    width: int,
    encoder_layers: int,
    decoder_layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    max_positions: int,
) -> PretrainedConfig:
    """BART (Lewis et al. 2020, arXiv:1910.13461), post-norm."""
    return BartConfig(
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feed_forward,
        decoder_ffn_dim=feed_forward,
        dropout=dropout,
        max_position_embeddings=max_positions,
        # Embeddings of variance 1/width, scaled by its root, as in Vaswani et al. 2017: a narrow network
        # learns much faster than with BART's own 0.02, which was chosen for width 1024.
        scale_embedding=True,
        init_std=width**-0.5,
        forced_eos_token_id=None,
        # CTranslate2's converter asks for it; BART itself knows only this layout.
        normalize_before=False,
    )


def _t5(
    *,
    width: int,
    encoder_layers: int,
    decoder_layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    max_positions: int,  # noqa: ARG001  # one signature for the table; positions are relative here
) -> PretrainedConfig:
    """T5 (Raffel et al. 2020, arXiv:1910.10683): relative positions, pre-norm without bias."""
    return T5Config(
        d_model=width,
        d_kv=width // heads,
        d_ff=feed_forward,
        num_layers=encoder_layers,
        num_decoder_layers=decoder_layers,
        num_heads=heads,
        dropout_rate=dropout,
    )


def _gpt2(
    *,
    width: int,
    encoder_layers: int,  # noqa: ARG001  # one signature for the table; zero here
    decoder_layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    max_positions: int,
) -> PretrainedConfig:
    """GPT-2 (Radford et al. 2019): learned positions, pre-norm."""
    return GPT2Config(
        n_embd=width,
        n_layer=decoder_layers,
        n_head=heads,
        n_inner=feed_forward,
        n_positions=max_positions,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )


def _llama(
    *,
    width: int,
    encoder_layers: int,  # noqa: ARG001  # one signature for the table; zero here
    decoder_layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    max_positions: int,
) -> PretrainedConfig:
    """Llama (Touvron et al. 2023, arXiv:2302.13971): rotary positions, gated feed-forward."""
    return LlamaConfig(
        hidden_size=width,
        num_hidden_layers=decoder_layers,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=max_positions,
        attention_dropout=dropout,
    )


ARCHITECTURES: dict[str, tuple[Callable[..., PretrainedConfig], bool]] = {
    # name: (its settings, whether it has an encoder)
    "bart": (_bart, True),
    "t5": (_t5, True),
    "gpt2": (_gpt2, False),
    "llama": (_llama, False),
}
