"""Checkpoints whose config differs from their family's usual one: under `auto` the texts are those of `hf`.

A converter that ignores a field of the config makes a network of the right shape that generates other texts.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from transformers import PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Greedy
from understudy.errors import GenerationError
from understudy.generation import converted_engine, open_engine
from understudy.generation.workspace import MARKER
from understudy.models.checkpoint import save_network

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_start_token_id": 2,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128,
    "forced_eos_token_id": None,
}  # fmt: skip
T5 = {
    "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
GEMMA_3 = {
    **LLAMA, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 40,
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
OPT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32,
    "max_position_embeddings": 128,
}  # fmt: skip
BASE: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (tf.LlamaConfig, LLAMA),
    "qwen2": (tf.Qwen2Config, LLAMA),
    "qwen3": (tf.Qwen3Config, {**LLAMA, "head_dim": 16}),
    "mistral": (tf.MistralConfig, {**LLAMA, "sliding_window": None}),
    "gemma3_text": (tf.Gemma3TextConfig, GEMMA_3),
    "gemma2": (tf.Gemma2Config, {**GEMMA_3, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "smollm3": (tf.SmolLM3Config, {**LLAMA, "no_rope_layers": [1, 0]}),
    "phi3": (tf.Phi3Config, LLAMA),
    "mbart": (tf.MBartConfig, BART),
    "marian": (tf.MarianConfig, BART),
    "m2m_100": (tf.M2M100Config, {**BART, "pad_token_id": 1, "bos_token_id": 0}),
    "gpt2": (tf.GPT2Config, GPT2),
    "opt": (tf.OPTConfig, OPT),
    "bart": (tf.BartConfig, BART),
    "pegasus": (tf.PegasusConfig, {**BART, "decoder_start_token_id": 0}),
    "t5": (tf.T5Config, T5),
    "mt5": (tf.MT5Config, T5),
}
ROTARY = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "default", "rope_theta": 5e5},
}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
FACTOR_8 = {**ROTARY, "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}}
WINDOW = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 0}
PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}
RIGHT = [
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"rms_norm_eps": 0.1}),
    ("llama", PARTIAL),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {"attention_bias": True}),
    ("mistral", {"head_dim": 16}),
    ("mistral", {"sliding_window": 40}),
    ("qwen3", {**WINDOW, "sliding_window": 40}),
    ("gemma3_text", {"rope_parameters": ROTARY}),
    ("gemma3_text", {"tie_word_embeddings": False, "hidden_activation": "gelu", "attention_bias": True}),
    ("gpt2", {"activation_function": "gelu"}),
    ("gpt2", {"activation_function": "relu"}),
    ("gpt2", {"tie_word_embeddings": False}),
    ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    ("bart", {"scale_embedding": True}),
    ("bart", {"activation_function": "relu"}),
    ("bart", {"activation_function": "swish"}),
    ("bart", {"tie_word_embeddings": False}),
    ("bart", {"decoder_start_token_id": 1}),
    ("pegasus", {"scale_embedding": True}),
    ("pegasus", {"activation_function": "relu"}),
    ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("t5", {"feed_forward_proj": "gated-silu"}),
    ("t5", {"feed_forward_proj": "gated-relu"}),
    ("t5", {"feed_forward_proj": "gelu"}),
    ("t5", {"relative_attention_num_buckets": 16, "relative_attention_max_distance": 20}),
    ("t5", {"decoder_start_token_id": 2}),
    ("t5", {"num_decoder_layers": 1}),
    ("mt5", {}),
    ("llama", {"head_dim": 16}),
    ("qwen2", {"head_dim": 16}),
    ("gpt2", {"layer_norm_epsilon": 0.1}),
    ("t5", {"layer_norm_epsilon": 0.1}),
    ("pegasus", {"decoder_start_token_id": 2}),
    ("gemma3_text", {"query_pre_attn_scalar": 16}),
    ("gemma3_text", {"rope_parameters": FACTOR_8}),
    ("llama", {"rope_parameters": LLAMA_3}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    ("smollm3", {"rope_parameters": LLAMA_3}),
    ("phi3", {"rms_norm_eps": 0.1, "num_key_value_heads": 4, "tie_word_embeddings": True}),
    ("phi3", {"sliding_window": 40}),
    ("gemma2", {"query_pre_attn_scalar": 16}),
    ("mbart", {"scale_embedding": True}),
    ("mbart", {"decoder_start_token_id": 5}),
    ("m2m_100", {"scale_embedding": False}),
    ("marian", {"scale_embedding": True, "activation_function": "swish"}),
    ("marian", {"decoder_start_token_id": 0}),
]
"""CTranslate2 generates the texts of transformers."""
WRONG = [
    ("llama", {"hidden_act": "gelu"}, "log-probabilities"),
    ("llama", {"hidden_act": "gelu_pytorch_tanh"}, "log-probabilities"),
    ("llama", {"hidden_act": "relu"}, "log-probabilities"),
    ("qwen2", WINDOW, "sliding window of 6"),
    ("qwen3", WINDOW, "sliding window of 6"),
    ("mistral", {"sliding_window": 6}, "sliding window of 6"),
    ("gemma3_text", {"sliding_window": 6}, "sliding window of 6"),
    ("gemma3_text", {"final_logit_softcapping": 5.0}, "final_logit_softcapping 5.0"),
    ("gemma2", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0"),
    ("gemma2", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0"),
    ("llama", {"rope_parameters": YARN}, "'yarn' rotary"),
    ("m2m_100", {"pad_token_id": 0, "bos_token_id": 1}, "log-probabilities"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "log-probabilities"),
    ("gpt2", {"scale_attn_weights": False}, "log-probabilities"),
    ("opt", {"enable_bias": False, "layer_norm_elementwise_affine": False}, "conversion fails"),
    ("opt", {"_remove_final_layer_norm": True}, "conversion fails"),
]
"""It fails, or generates others; part of the reason."""


def saved(family: str, changes: Mapping[str, object], tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """A checkpoint with large random weights, so that a wrong computation changes the texts."""
    kind, sizes = BASE[family]
    config = kind(**{"vocab_size": len(tokenizer) + 3, **IDS, **sizes, **changes})
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    torch.manual_seed(3)
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    save_network(model, tokenizer, folder)
    return folder


def texts(engine: str, checkpoint: Path, workspace: Path) -> list[tuple[int, ...]]:
    """Greedy texts and beams of five sources, one of which is longer than the sliding windows of `RIGHT`."""
    generator = torch.Generator().manual_seed(1)
    sources = [[*torch.randint(5, 60, (n,), generator=generator).tolist(), 2] for n in (12, 12, 5, 20, 60)]
    with open_engine(engine, checkpoint, workspace=workspace, threads=1) as opened:
        return [
            found[0].token_ids
            for decoding in (Greedy(), Beam(beams=3))
            for found in opened.generate(sources, decoding, max_tokens=12)
        ]


@pytest.mark.parametrize(("family", "changes"), RIGHT)
def test_a_right_conversion_is_used_and_gives_the_same_texts(
    family: str, changes: Mapping[str, object], *, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The comparison refuses no right conversion: under `auto` the engine is CTranslate2, with the texts of `hf`."""
    folder = saved(family, changes, tokenizer, tmp_path / "checkpoint")

    assert converted_engine("auto", folder, tmp_path) == ("ctranslate2", None)
    assert texts("auto", folder, tmp_path) == texts("hf", folder, tmp_path)


@pytest.mark.parametrize(("family", "changes", "reason"), WRONG)
def test_a_wrong_conversion_is_passed_over_under_auto_and_refused_where_it_is_requested(
    family: str, changes: Mapping[str, object], reason: str, *, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """Under `auto` the texts are those of `hf`; a requested engine is refused with the reason and the remedy."""
    folder = saved(family, changes, tokenizer, tmp_path / "checkpoint")

    engine, passed_over = converted_engine("auto", folder, tmp_path)
    assert engine == "hf"
    assert passed_over is not None
    assert reason in passed_over
    assert texts("auto", folder, tmp_path) == texts("hf", folder, tmp_path)
    with pytest.raises(GenerationError, match=rf"(?s){reason}.*use engine 'hf'"):
        converted_engine("ctranslate2", folder, tmp_path)
    assert not list(tmp_path.rglob(MARKER))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


@pytest.mark.parametrize("family", ["mistral", "phi3", "llama", "gemma2"])
def test_a_tokenizer_without_start_and_unknown_token_is_converted(
    family: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """As byte-level ones are: they know every text."""
    own = copy.deepcopy(tokenizer)
    own.bos_token = own.unk_token = None
    folder = saved(family, {}, own, tmp_path / "checkpoint")

    assert converted_engine("auto", folder, tmp_path) == ("ctranslate2", None)
    assert texts("auto", folder, tmp_path) == texts("hf", folder, tmp_path)
