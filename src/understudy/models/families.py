"""Model families: where the layers and the attention of a model are, and what converting or building it needs.

`FAMILIES` is one table, keyed by the `model_type` of a config; adding a family is one entry here. A family that is not
in the table is described from its modules if they have one of three standard layouts, otherwise it is refused.
The head needs no entry: transformers finds it for every family (`get_output_embeddings`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from understudy.config.model_sections import Scratch
from understudy.errors import ModelError
from understudy.models.checkpoint import without_weights
from understudy.models.scratch_configs import bart_config, gpt2_config, llama_config, t5_config

QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Stack:
    """Where an encoder or a decoder keeps its layers and their attention."""

    module: str
    """Name of the stack; its output is the last hidden states."""
    layers: str
    """Name of the list of layers within the stack."""
    count: str
    """Field of the config that counts the layers, after the names of the configs in which it is nested."""
    attentions: Mapping[str, str]
    """`encoder`, `decoder` or `cross` -> name of that attention within a layer."""
    projections: tuple[str, ...] = QKV
    """Names of the query, key and value projections within an attention, or of one that computes all three."""

    @property
    def layer_list(self) -> str:
        """Full name of the list of layers."""
        return f"{self.module}.{self.layers}"


@dataclass(frozen=True)
class Conversion:
    """What CTranslate2's converter needs for a family beyond the checkpoint."""

    config: Mapping[str, bool] = field(default_factory=dict)
    """Config fields that the converter reads, that checkpoints may lack and that transformers ignores."""
    attention: Mapping[str, object] = field(default_factory=dict)
    """Attributes of every attention that the converter reads and that transformers 5 no longer has."""
    loader: str | None = None
    """Name of the config whose loader fits, where the loader for the family's own config does not."""
    unscaled_outputs: bool = False
    """Whether outputs are unscaled unless the config says `scale_decoder_outputs`."""


@dataclass(frozen=True)
class Family:
    """What is known of one `model_type`."""

    stacks: Mapping[str, Stack]
    """`encoder` (not in decoder-only models) and `decoder` -> its stack."""
    conversion: Conversion | None = None
    """None: no test proves that CTranslate2 generates the same texts as transformers."""
    scratch: Callable[[Scratch, int], PretrainedConfig] | None = None
    """Config of a new model from its sizes and its maximum length in tokens; None: not built from scratch."""


_BART = {
    "encoder": Stack("model.encoder", "layers", "encoder_layers", {"encoder": "self_attn"}),
    "decoder": Stack("model.decoder", "layers", "decoder_layers", {"decoder": "self_attn", "cross": "encoder_attn"}),
}
_T5 = {
    "encoder": Stack("encoder", "block", "num_layers", {"encoder": "layer.0.SelfAttention"}, ("q", "k", "v")),
    "decoder": Stack(
        "decoder",
        "block",
        "num_decoder_layers",
        {"decoder": "layer.0.SelfAttention", "cross": "layer.1.EncDecAttention"},
        ("q", "k", "v"),
    ),
}
_GPT2 = {"decoder": Stack("transformer", "h", "n_layer", {"decoder": "attn"}, ("c_attn",))}
_OPT = {"decoder": Stack("model.decoder", "layers", "num_hidden_layers", {"decoder": "self_attn"})}
_PHI = {"decoder": Stack("model", "layers", "num_hidden_layers", {"decoder": "self_attn"}, ("qkv_proj",))}
_LLAMA = {"decoder": Stack("model", "layers", "num_hidden_layers", {"decoder": "self_attn"})}
_T5_GEMMA = {
    "encoder": Stack("model.encoder", "layers", "encoder.num_hidden_layers", {"encoder": "self_attn"}),
    "decoder": Stack(
        "model.decoder", "layers", "decoder.num_hidden_layers", {"decoder": "self_attn", "cross": "cross_attn"}
    ),
}
# Its decoder projects target and source by the same modules, one after the other, so neither is captured.
_T5_GEMMA_2 = {
    "encoder": Stack(
        "model.encoder.text_model", "layers", "encoder.text_config.num_hidden_layers", {"encoder": "self_attn"}
    ),
    "decoder": Stack("model.decoder", "layers", "decoder.num_hidden_layers", {}),
}

_POST_NORM = Conversion({"normalize_before": False, "normalize_embedding": True})
_PRE_NORM = Conversion({"normalize_before": True, "normalize_embedding": False})
# transformers 5 also ties the embeddings of T5 1.1, Flan-T5 and mT5. The converter concludes that their outputs are
# scaled, which would flatten every distribution.
_UNSCALED = Conversion(unscaled_outputs=True)

_PHI_3 = Conversion(attention={"rotary_emb": SimpleNamespace(long_factor=None, short_factor=None)})

FAMILIES: dict[str, Family] = {
    "bart": Family(_BART, _POST_NORM, bart_config),
    "mbart": Family(_BART, Conversion({"normalize_before": True, "normalize_embedding": True})),
    "m2m_100": Family(_BART, _PRE_NORM),
    "pegasus": Family(_BART, _PRE_NORM),
    # The loader for Marian removes the last row of the embeddings, which is a token's where the vocabulary was changed.
    "marian": Family(_BART, Conversion({"normalize_before": False, "normalize_embedding": False}, loader="BartConfig")),
    "t5": Family(_T5, _UNSCALED, t5_config),
    "mt5": Family(_T5, _UNSCALED),
    "gpt2": Family(_GPT2, Conversion(), gpt2_config),
    "opt": Family(_OPT, Conversion()),
    "llama": Family(_LLAMA, Conversion(), llama_config),
    "mistral": Family(_LLAMA, Conversion()),
    "qwen2": Family(_LLAMA, Conversion()),
    "qwen3": Family(_LLAMA, Conversion()),
    "smollm3": Family(_LLAMA, Conversion(loader="LlamaConfig")),
    "gemma": Family(_LLAMA, Conversion()),
    "gemma2": Family(_LLAMA, Conversion()),
    "gemma3_text": Family(_LLAMA, Conversion()),
    "t5gemma": Family(_T5_GEMMA),
    "t5gemma2": Family(_T5_GEMMA_2),
    "phi3": Family(_PHI, _PHI_3),
}

STANDARD_LAYOUTS: dict[str, Mapping[str, Stack]] = {
    "model.layers with self_attn.{q,k,v}_proj": _LLAMA,
    "model.encoder.layers and model.decoder.layers with self_attn and encoder_attn.{q,k,v}_proj": _BART,
    "encoder.block and decoder.block with SelfAttention and EncDecAttention.{q,k,v}": _T5,
}
"""Layouts, in words, that an unknown family is compared with."""


def stacks_of(config: PretrainedConfig, model: PreTrainedModel | None = None) -> Mapping[str, Stack]:
    """`encoder` (not in decoder-only models) and `decoder` -> where its layers and attention are.

    Args:
        config: of the model.
        model: spares an unknown family the construction of its modules (without weights).

    Raises:
        ModelError: for a family that is neither in `FAMILIES` nor has a standard layout.
    """
    family = FAMILIES.get(config.model_type)
    if family is not None:
        return family.stacks
    modules = _modules_of(config) if model is None else model
    for stacks in STANDARD_LAYOUTS.values():
        if ("encoder" in stacks) == bool(config.is_encoder_decoder) and all(
            _has_stack(modules, config, stack) for stack in stacks.values()
        ):
            return stacks
    raise _unknown(config)


def layer_counts(config: PretrainedConfig, model: PreTrainedModel | None = None) -> dict[str, int]:
    """`encoder` (not in decoder-only models) and `decoder` -> its number of layers.

    Args and errors are those of `stacks_of`.
    """
    return {part: layer_count(config, stack) for part, stack in stacks_of(config, model).items()}


def counted_by(config: PretrainedConfig, stack: Stack) -> tuple[PretrainedConfig, str]:
    """The config, perhaps one nested in another, and its field that count the layers of a stack."""
    *nested, name = stack.count.split(".")
    for part in nested:
        config = getattr(config, part)
    return config, name


def layer_count(config: PretrainedConfig, stack: Stack) -> int:
    """The number of layers of a stack."""
    return int(getattr(*counted_by(config, stack)))


def _has_stack(modules: nn.Module, config: PretrainedConfig, stack: Stack) -> bool:
    """Whether the layers are where the stack has them, all with its attention and counted by its config field."""
    names = {name for name, _ in modules.named_modules()}
    if stack.layer_list not in names:
        return False
    layers = list(modules.get_submodule(stack.layer_list).named_children())
    needed = [
        f"{stack.layer_list}.{layer}.{attention}.{projection}"
        for layer, _ in layers
        for attention in stack.attentions.values()
        for projection in stack.projections
    ]
    return bool(layers) and names.issuperset(needed) and getattr(config, stack.count, None) == len(layers)


def _modules_of(config: PretrainedConfig) -> nn.Module:
    try:
        model: nn.Module = without_weights(config)
    except ModelError as error:
        raise _unknown(config) from error
    return model


def _unknown(config: PretrainedConfig) -> ModelError:
    return ModelError(
        f"the layers of a {config.model_type!r} model were not found: it is not one of {', '.join(FAMILIES)}, and has "
        f"none of the standard layouts ({'; '.join(STANDARD_LAYOUTS)}); pruning and attention relations need one of "
        "these, a pretrained or scratch student with objective forward_kl does not"
    )
