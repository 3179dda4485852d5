"""A tiny checkpoint of each architecture that users bring, in the layout of the hub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from understudy.models.checkpoint import save_network
from understudy.models.tokenizers import train_tokenizer

COLOURS = ("red", "blue", "old", "new", "big", "small")
ROWS = [
    {"source": f"{colour} {thing}", "target": f"the {thing} is {colour}"}
    for colour in COLOURS
    for thing in ("mill", "inn")
]
CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DECODER = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
GEMMA = {
    **DECODER, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64,
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
BART = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_start_token_id": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 128,
}  # fmt: skip
OPT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8,
    "max_position_embeddings": 512, "do_layer_norm_before": False,
}  # fmt: skip
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
GATED = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
COUNTS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "num_layers")
NESTED = ("encoder", "decoder", "text_config")
VISION = {
    "model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "image_size": 16, "patch_size": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What is saved, and which engine `auto` is expected to use."""

    config: Callable[..., PretrainedConfig]
    settings: dict[str, Any]
    engine: str = "ctranslate2"
    chat: bool = False
    """Whether the tokenizer has a chat template."""

    def save(self, folder: Path, *, layers: int | None = None) -> None:
        """Saves a random network, perhaps with so many layers on each side, with a tokenizer of the task's texts."""
        tokenizer = task_tokenizer()
        # Embeddings have more rows than there are tokens, as in many checkpoints.
        config = self.config(**with_vocabulary(with_layers(self.settings, layers), len(tokenizer) + 3))
        auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
        torch.manual_seed(3)
        model = auto.from_config(config)
        with torch.no_grad():  # large enough that a wrong computation changes the texts
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.05))
        if self.chat:
            tokenizer.chat_template = CHAT
        save_network(model, tokenizer, folder)


def with_layers(settings: dict[str, Any], layers: int | None) -> dict[str, Any]:
    """The settings with another number of layers; None: the same."""
    if layers is None:
        return settings
    nested: dict[str, Any] = {name: with_layers(own, layers) for name, own in settings.items() if name in NESTED}
    nested |= {name: layers for name in COUNTS if name in settings}
    nested |= {
        name: (settings[name] * layers)[:layers] for name in ("layer_types", "no_rope_layers") if name in settings
    }
    return {**settings, **nested}


def with_vocabulary(settings: dict[str, Any], size: int) -> dict[str, Any]:
    """The settings of a text model, and of those nested in it, with the size of the vocabulary and its ids."""
    nested = {name: with_vocabulary(own, size) for name, own in settings.items() if name in NESTED}
    return {"vocab_size": size, **IDS, **settings, **nested}


def task_tokenizer() -> PreTrainedTokenizerBase:
    """It has tokens for the task's words."""
    return train_tokenizer([text for row in ROWS for text in row.values()] * 2, vocab_size=150)


CHECKPOINTS: dict[str, Checkpoint] = {
    "gemma-2": Checkpoint(tf.Gemma2Config, GEMMA, engine="hf"),
    "gemma-3": Checkpoint(tf.Gemma3TextConfig, GEMMA, chat=True),
    "qwen-2": Checkpoint(tf.Qwen2Config, DECODER, chat=True),
    "qwen-2.5": Checkpoint(tf.Qwen2Config, {**DECODER, "tie_word_embeddings": True}, chat=True),
    "qwen-3": Checkpoint(tf.Qwen3Config, {**DECODER, "head_dim": 8}, chat=True),
    "llama-2": Checkpoint(tf.LlamaConfig, {**DECODER, "num_key_value_heads": 4}),
    "llama-3.2": Checkpoint(tf.LlamaConfig, {**DECODER, "rope_parameters": LLAMA_3, "tie_word_embeddings": True}),
    "mistral": Checkpoint(tf.MistralConfig, {**DECODER, "sliding_window": 64}, chat=True),
    "smollm-2": Checkpoint(tf.LlamaConfig, {**DECODER, "tie_word_embeddings": True}, chat=True),
    "smollm-3": Checkpoint(tf.SmolLM3Config, {**DECODER, "no_rope_layers": [1, 0]}, chat=True),
    "phi-3": Checkpoint(tf.Phi3Config, {**DECODER, "num_key_value_heads": 4, "sliding_window": 64}, chat=True),
    "phi-4": Checkpoint(tf.Phi3Config, DECODER, chat=True),
    "gpt-2": Checkpoint(tf.GPT2Config, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512}),
    "opt": Checkpoint(tf.OPTConfig, OPT),
    "t5": Checkpoint(tf.T5Config, T5),
    "flan-t5": Checkpoint(tf.T5Config, GATED),
    "mt5": Checkpoint(tf.MT5Config, GATED),
    "t5gemma": Checkpoint(tf.T5GemmaConfig, {"encoder": GEMMA, "decoder": GEMMA}, engine="hf"),
    "t5gemma-2": Checkpoint(
        tf.T5Gemma2Config, {"encoder": {"text_config": GEMMA, "vision_config": VISION}, "decoder": GEMMA}, engine="hf"
    ),
    "bart": Checkpoint(tf.BartConfig, BART),
    "mbart": Checkpoint(tf.MBartConfig, BART),
    "pegasus": Checkpoint(tf.PegasusConfig, {**BART, "decoder_start_token_id": 0}),
    "marian": Checkpoint(tf.MarianConfig, {**BART, "decoder_start_token_id": 0}),
    "nllb": Checkpoint(tf.M2M100Config, {**BART, "pad_token_id": 1, "bos_token_id": 0}),
}
"""Name of a family that users know -> its checkpoint."""
