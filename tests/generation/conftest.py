"""Tiny models, sources of several lengths, and the log-probability of a text by an independent path."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.models.checkpoint import save_network
from understudy.models.forward import target_logits
from understudy.models.scratch import build_network
from understudy.models.text import encode_sources
from understudy.models.tokenizers import train_tokenizer

TEXTS = ["the mill", "a b c", "the eagle costs 25", "mill", "the c", "eagle b 2 5", "a a a a a a a", "costs"]

ENCODER_DECODER = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "init_std": 0.3, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
OPT = {
    "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 32, "num_attention_heads": 2,
    "max_position_embeddings": 64, "word_embed_proj_dim": 8, "init_std": 0.3,
}  # fmt: skip
DECODER = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip

YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
UNCAPPED = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
GEMMA_3 = {
    **DECODER, "head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 60,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    },
}  # fmt: skip

CONFIGS: dict[str, tuple[type[tf.PretrainedConfig], Mapping[str, object]]] = {
    "bart": (tf.BartConfig, ENCODER_DECODER),
    "pegasus": (tf.PegasusConfig, {**ENCODER_DECODER, "decoder_start_token_id": 0}),
    "marian": (tf.MarianConfig, ENCODER_DECODER),
    "t5": (tf.T5Config, T5),
    "t5-1.1": (tf.T5Config, {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": (tf.MT5Config, T5),
    "gpt2": (tf.GPT2Config, GPT2),
    "opt": (tf.OPTConfig, OPT),
    "llama": (tf.LlamaConfig, {**DECODER, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
    "llama-3": (tf.LlamaConfig, {**DECODER, "rope_parameters": LLAMA_3}),
    "llama-yarn": (tf.LlamaConfig, {**DECODER, "rope_parameters": YARN}),
    "umt5": (tf.UMT5Config, T5),
    "mistral": (tf.MistralConfig, DECODER),
    "qwen2": (tf.Qwen2Config, DECODER),
    "qwen3": (tf.Qwen3Config, {**DECODER, "head_dim": 8}),
    "smollm3": (tf.SmolLM3Config, {**DECODER, "no_rope_layers": [1, 0]}),
    "phi3": (tf.Phi3Config, DECODER),
    "gemma": (tf.GemmaConfig, {**DECODER, "head_dim": 4}),
    "gemma2": (tf.Gemma2Config, {**GEMMA_3, **UNCAPPED, "rope_parameters": None}),
    "mbart": (tf.MBartConfig, ENCODER_DECODER),
    "m2m_100": (
        tf.M2M100Config,
        {**ENCODER_DECODER, "pad_token_id": 1, "bos_token_id": 0, "decoder_start_token_id": 2},
    ),
    "gemma3_text": (tf.Gemma3TextConfig, GEMMA_3),
}


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """One tokenizer for all models."""
    return train_tokenizer(TEXTS * 3, vocab_size=120)


@pytest.fixture(scope="session")
def network(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], PreTrainedModel]:
    """Builds a random model of a family."""

    def build(family: str) -> PreTrainedModel:
        kind, settings = CONFIGS[family]
        # Embeddings have more rows than there are tokens, as in many checkpoints.
        ids = {"vocab_size": len(tokenizer) + 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        config = kind(**{**ids, **settings})
        auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
        torch.manual_seed(0)
        return auto.from_config(config).eval()

    return build


@pytest.fixture(scope="session")
def checkpoint(
    tokenizer: PreTrainedTokenizerBase,
    network: Callable[[str], PreTrainedModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Saves a random model of a family; nothing else is in the folder above its checkpoint."""

    def save(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        save_network(network(family), tokenizer, folder)
        return folder

    return save


@pytest.fixture(scope="session")
def sources(tokenizer: PreTrainedTokenizerBase) -> Callable[[PreTrainedModel], list[list[int]]]:
    """The texts as this model reads them."""

    def encode(model: PreTrainedModel) -> list[list[int]]:
        kind = model.config.is_encoder_decoder
        return encode_sources(tokenizer, TEXTS, is_encoder_decoder=kind)

    return encode


def _logits(model: PreTrainedModel, source: Sequence[int], target: Sequence[int]) -> torch.Tensor:
    ids, labels = torch.tensor([source]), torch.tensor([target])
    return target_logits(
        model,
        source_ids_SL=ids,
        source_mask_SL=torch.ones_like(ids, dtype=torch.bool),
        source_of_B=torch.tensor([0]),
        target_ids_BT=labels,
        target_mask_BT=torch.ones_like(labels, dtype=torch.bool),
    )


@pytest.fixture(scope="session")
def logprob(tokenizer: PreTrainedTokenizerBase) -> Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]:
    """The log-probability of one text among all token ids, by one forward pass; rows without a token have no part."""

    def of(model: PreTrainedModel, source: Sequence[int], target: Sequence[int]) -> float:
        with torch.no_grad():
            logits_NV = _logits(model, source, target)[:, : len(tokenizer)]
        return -float(torch.nn.functional.cross_entropy(logits_NV, torch.tensor(target), reduction="sum"))

    return of


@pytest.fixture(scope="session")
def trained(
    tokenizer: PreTrainedTokenizerBase, sources: Callable[[PreTrainedModel], list[list[int]]]
) -> PreTrainedModel:
    """A BART trained a little to repeat its source, so that its texts end, at several lengths."""
    model = build_network(
        small(width=32, feed_forward=32),
        tokenizer,
        max_positions=64,
        seed=0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(20):
        for source in sources(model):
            loss = torch.nn.functional.cross_entropy(_logits(model, source, source), torch.tensor(source))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return model.eval()
