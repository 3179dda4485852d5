"""Configs of models that are built from scratch: from a few sizes and the maximum length in tokens.

Which architectures there are is in `families.FAMILIES`; building the model is in `scratch`.
"""

from transformers import BartConfig, GPT2Config, LlamaConfig, PretrainedConfig, T5Config

from understudy.config.model_sections import Scratch


def bart_config(scratch: Scratch, max_positions: int) -> PretrainedConfig:
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
        # CTranslate2's converter requires the field; BART itself has only this layout.
        normalize_before=False,
    )


def t5_config(scratch: Scratch, _max_positions: int) -> PretrainedConfig:
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


def gpt2_config(scratch: Scratch, max_positions: int) -> PretrainedConfig:
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


def llama_config(scratch: Scratch, max_positions: int) -> PretrainedConfig:
    """Llama (Touvron et al. 2023, arXiv:2302.13971): rotary positions, gated feed-forward."""
    return LlamaConfig(
        hidden_size=scratch.width,
        num_hidden_layers=scratch.decoder_layers,
        num_attention_heads=scratch.heads,
        intermediate_size=scratch.feed_forward,
        max_position_embeddings=max_positions,
        attention_dropout=scratch.dropout,
    )
