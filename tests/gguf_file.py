"""Writes a tiny network as a GGUF file, as llama.cpp's converter does."""

import json
from pathlib import Path

import gguf
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = ["the mill is near the eagle", "the eagle costs 25 pounds", "a café, 3 stars"]


def byte_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer like Qwen's, with its end-of-sequence token."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    ends = dict.fromkeys(("eos_token", "pad_token", "bos_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **ends)


def small_qwen(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """Two layers, width 32, random weights."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.2,
        eos_token_id=0, bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def write_gguf(
    file: Path,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    quantised: str = "F32",
    leave_out: str | None = None,
) -> None:
    """Writes a network; matrices of its layers have the given type.

    Args:
        file: what is written.
        model: of the architecture qwen2.
        tokenizer: byte-level.
        quantised: a name of `gguf.GGMLQuantizationType`.
        leave_out: name of a weight that is left out.
    """
    config = model.config
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token_id == 0 else 1 for _, token_id in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_pad_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name in {"lm_head.weight", leave_out}:
            continue
        kind = quantised if weight.ndim > 1 and ".layers." in name else "F32"
        kind_of = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(weight.numpy(), kind_of)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), data, raw_dtype=kind_of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
