"""What a network's last layers attend with: queries, keys, values and last hidden states, heard as they pass.

Forward hooks on an unmodified network, by module names; the families whose names are known are a table, others
are refused. How teacher and student are compared is in objectives/relations.py.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.errors import ModelError


@dataclass(frozen=True)
class Stack:
    """Module names of an encoder or a decoder."""

    module: str
    """Its output are the last hidden states."""
    layers: str
    """Within the stack."""
    attentions: Mapping[str, str]
    """Prefix of the keys -> name within a layer."""
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    """Of query, key and value, or one that makes all three side by side."""


@dataclass(frozen=True)
class CapturedStates:
    """What passed in the latest forward."""

    relations: dict[str, Tensor] = field(default_factory=dict)
    """`encoder.query` and so on -> (rows, positions, width), all heads side by side."""


_BART = {
    "encoder": Stack("model.encoder", "layers", {"encoder": "self_attn"}),
    "decoder": Stack("model.decoder", "layers", {"decoder": "self_attn", "cross": "encoder_attn"}),
}
_T5 = {
    "encoder": Stack("encoder", "block", {"encoder": "layer.0.SelfAttention"}, ("q", "k", "v")),
    "decoder": Stack(
        "decoder", "block", {"decoder": "layer.0.SelfAttention", "cross": "layer.1.EncDecAttention"}, ("q", "k", "v")
    ),
}
_LLAMA = {"decoder": Stack("model", "layers", {"decoder": "self_attn"})}

STACKS: dict[str, dict[str, Stack]] = {
    "bart": _BART,
    "mbart": _BART,
    "pegasus": _BART,
    "marian": _BART,
    "t5": _T5,
    "mt5": _T5,
    "gpt2": {"decoder": Stack("transformer", "h", {"decoder": "attn"}, ("c_attn",))},
    "opt": {"decoder": Stack("model.decoder", "layers", {"decoder": "self_attn"})},
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}

_ROLES = ("query", "key", "value")


@contextmanager
def capture_attention(model: PreTrainedModel) -> Iterator[CapturedStates]:
    """Within, every forward of `model` leaves what its last layers attend with; the network is not changed.

    Keys of `CapturedStates.relations`, of the last layer of each stack: `encoder.`, `decoder.` and `cross.` followed by
    `query`, `key` or `value`, and the last hidden states `encoder.hidden` and `decoder.hidden`. Decoder-only
    networks leave only `decoder.` keys. Projections are taken as they leave their weights: before rotation, norm
    and scaling. With grouped queries, keys and values are narrower.

    Rows and positions are those of the forward: in `target_logits`, `encoder.` keys have a row for each source,
    `decoder.` and `cross.` keys for each target; `cross.key` and `cross.value` have the source's positions.
    A stack forgets its own keys when it starts anew, so a layer that is skipped (layer dropout) leaves none.

    Args:
        model: of a family in `STACKS`.

    Raises:
        ModelError: for a family that is not known.
    """
    heard = CapturedStates()
    with ExitStack() as hooks:
        for part, stack in _stacks(model).items():
            module = model.get_submodule(stack.module)
            hooks.callback(module.register_forward_pre_hook(_forget(heard, (part, *stack.attentions))).remove)
            hooks.callback(module.register_forward_hook(_keep(heard, (f"{part}.hidden",))).remove)
            last = list(module.get_submodule(stack.layers).children())[-1]
            for prefix, attention in stack.attentions.items():
                for name, keys in _keys(prefix, stack.projections).items():
                    projection = last.get_submodule(f"{attention}.{name}")
                    hooks.callback(projection.register_forward_hook(_keep(heard, keys)).remove)
        yield heard


def attention_heads(model: PreTrainedModel) -> int:
    """The number of heads of the decoder's queries.

    Raises:
        ModelError: for a family that is not known.
    """
    _stacks(model)
    heads = getattr(model.config, "decoder_attention_heads", None)
    return int(model.config.num_attention_heads if heads is None else heads)


def _stacks(model: PreTrainedModel) -> dict[str, Stack]:
    stacks = STACKS.get(model.config.model_type)
    if stacks is None:
        raise ModelError(
            f"attention relations were asked of a {model.config.model_type!r} network, whose attention is not known "
            f"by name; use one of {', '.join(STACKS)}, or objective forward_kl"
        )
    return stacks


def _keys(prefix: str, projections: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Name of a projection -> the keys of what it makes."""
    keys = tuple(f"{prefix}.{role}" for role in _ROLES)
    if len(projections) == 1:
        return {projections[0]: keys}
    return {name: (key,) for name, key in zip(projections, keys, strict=True)}


def _forget(heard: CapturedStates, prefixes: tuple[str, ...]) -> Callable[[nn.Module, object], None]:
    def hook(_module: nn.Module, _inputs: object) -> None:
        for key in [key for key in heard.relations if key.split(".")[0] in prefixes]:
            del heard.relations[key]

    return hook


def _keep(
    heard: CapturedStates, keys: tuple[str, ...]
) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    """A hook that keeps the output, cut along its width into as many parts as there are keys."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states = output if isinstance(output, Tensor) else output[0]
        heard.relations.update(zip(keys, states.chunk(len(keys), dim=-1), strict=True))

    return hook
