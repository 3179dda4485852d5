"""A decoder-only network as the fields and tensors of a GGUF file.

Adding a family is an entry in `GGUF_FAMILIES`. What llama.cpp would compute otherwise is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from understudy.errors import GenerationError
from understudy.models.checkpoint import sliding_window


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """What is known of one `model_type`."""

    architecture: str
    """llama.cpp's name."""
    neighbors: bool = False
    """Whether llama.cpp rotates neighboring dimensions of a head; transformers rotates its halves."""
    norm_shift: float = 0.0
    """What is added to the weights of norms."""
    scaled_rotary: bool = False
    """Whether each frequency of the rotary embedding can have a divisor."""
    windows: bool = False
    """Whether its sliding windows are computed."""


GGUF_FAMILIES = {
    "llama": GgufFamily("llama", neighbors=True, scaled_rotary=True),
    "mistral": GgufFamily("llama", neighbors=True, scaled_rotary=True),
    "qwen2": GgufFamily("qwen2"),
    "qwen3": GgufFamily("qwen3"),
    "gemma3_text": GgufFamily("gemma3", norm_shift=1.0, windows=True),
}
_WINDOW_PERIOD = 6
"""Of so many layers of Gemma 3 the last attends to all positions."""
_WINDOW_BASE = 10_000
"""Base of the rotary embedding of its other layers."""
ROTARY = frozenset({"default", "linear", "llama3"})
"""Kinds of rotary embedding whose frequencies do not depend on the length of a text."""
_BLOCK = 32
"""Weights that q8_0 and q4_0 scale together: rows of another length stay in f16."""
TYPES = {"f16": "F16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
"""Precision -> name of the type of matrices."""


def gguf_family(config: PretrainedConfig, longest: int) -> GgufFamily:
    """How a model is written.

    Args:
        config: of the model.
        longest: most tokens of source and text together.

    Raises:
        GenerationError: if llama.cpp does not compute the model's function, or this module cannot write it.
    """
    family = GGUF_FAMILIES.get(config.model_type)
    if config.is_encoder_decoder or family is None:
        raise _refused(f"a {config.model_type!r} model (it can be written for {', '.join(GGUF_FAMILIES)})")
    window = sliding_window(config)
    if window is not None and not family.windows and longest > window:
        raise _refused(f"a {config.model_type!r} model whose window of {window} tokens is exceeded by {longest}")
    if family.windows:
        _refuse_other_gemmas(config)
    elif config.hidden_act != "silu":
        raise _refused(f"a {config.model_type!r} model with the activation {config.hidden_act!r}")
    known = ROTARY if family.scaled_rotary else {"default"}
    if (rotary := _rope(config).get("rope_type", "default")) not in known:
        raise _refused(f"a {config.model_type!r} model with {rotary!r} rotary embeddings")
    return family


def network_fields(model: PreTrainedModel, family: GgufFamily, longest: int) -> dict[str, Any]:
    """The fields `ARCHITECTURE.*` without that prefix."""
    config = model.config
    fields: dict[str, Any] = {
        "context_length": int(getattr(config, "max_position_embeddings", None) or longest),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": _head(config),
        "attention.value_length": _head(config),
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": _head(config),
        "rope.freq_base": float(_rope(config)["rope_theta"]),
    }
    if family.windows:
        window = sliding_window(config)
        fields["attention.sliding_window"] = window or longest
    return fields


def tensors(model: PreTrainedModel, family: GgufFamily, rows: int) -> Iterator[tuple[str, Tensor]]:
    """The name in transformers and the weights of each tensor; those of tied outputs are left out.

    Args:
        model: in float32.
        family: of the model.
        rows: number of tokens, and of rows of the embeddings that are written.
    """
    config, tied = model.config, model.get_output_embeddings().weight is model.get_input_embeddings().weight
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        written = weight.float()
        if name in {"lm_head.weight", "model.embed_tokens.weight"}:
            written = written[:rows]
        if name.endswith("norm.weight"):
            written = written + family.norm_shift
        of_heads = heads.get(name.split(".")[-2])
        if family.neighbors and of_heads:
            split = written.reshape(of_heads, 2, -1, *written.shape[1:])
            written = split.transpose(1, 2).reshape(written.shape)
        yield name, written.contiguous()


def rotary_divisors(model: PreTrainedModel) -> Tensor | None:
    """By what each frequency of a scaled rotary embedding is divided; None if it is not scaled."""
    rope = _rope(model.config)
    if rope.get("rope_type", "default") == "default":
        return None
    scaled = model.model.rotary_emb.inv_freq.float()
    powers = torch.arange(0, 2 * len(scaled), 2) / (2 * len(scaled))
    divisors: Tensor = rope["rope_theta"] ** -powers / scaled
    return divisors


def type_of(name: str, weight: Tensor, precision: str) -> str:
    """The type of a tensor: vectors stay in F32, and embeddings and output of q4_0 are in Q8_0."""
    if weight.ndim == 1:
        return "F32"
    if precision != "f16" and weight.shape[-1] % _BLOCK:
        return "F16"
    outer = name in {"lm_head.weight", "model.embed_tokens.weight"}
    return "Q8_0" if precision == "q4_0" and outer else TYPES[precision]


def _refuse_other_gemmas(config: PretrainedConfig) -> None:
    """llama.cpp fixes for Gemma 3: which layers have windows, their rotary embedding, and the scale of queries."""
    kinds = [
        "full_attention" if number % _WINDOW_PERIOD == _WINDOW_PERIOD - 1 else "sliding_attention"
        for number in range(config.num_hidden_layers)
    ]
    if list(config.layer_types) != kinds:
        raise _refused(
            "a Gemma 3 whose layers do not repeat five with a sliding window and one without, as of one with fewer "
            "layers"
        )
    local = config.rope_parameters["sliding_attention"]
    if local.get("rope_type", "default") != "default":
        raise _refused(f"a Gemma 3 with {local['rope_type']!r} rotary embeddings")
    if local["rope_theta"] != _WINDOW_BASE:
        raise _refused(
            f"a Gemma 3 whose layers with windows have the rotary base {local['rope_theta']}, not {_WINDOW_BASE}"
        )
    if config.query_pre_attn_scalar != config.head_dim:
        raise _refused(f"a Gemma 3 that scales queries by {config.query_pre_attn_scalar}, not by {config.head_dim}")
    if getattr(config, "final_logit_softcapping", None) or getattr(config, "attn_logit_softcapping", None):
        raise _refused("a Gemma 3 with soft caps")


def _rope(config: PretrainedConfig) -> dict[str, Any]:
    found: dict[str, Any] = config.rope_parameters
    kind: dict[str, Any] = found.get("full_attention", found)
    return kind


def _head(config: PretrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _refused(what: str) -> GenerationError:
    return GenerationError(
        f"format gguf was requested, but llama.cpp cannot have {what} as it is; use format hf or ct2"
    )
