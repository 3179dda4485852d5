"""Captures the queries, keys, values and last hidden states of a model's last layers during a forward pass.

It uses forward hooks on an unmodified model; where the attention is comes from `families`. How the states of teacher
and student are compared is in `objectives/relations.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from understudy.models.checkpoint import decoder_config
from understudy.models.families import stacks_of

_ROLES = ("query", "key", "value")


@dataclass(frozen=True)
class CapturedStates:
    """States of the latest forward pass."""

    relations: dict[str, Tensor] = field(default_factory=dict)
    """`encoder.query` and so on -> (rows, positions, width), all heads side by side."""


@contextmanager
def capture_attention(model: PreTrainedModel) -> Iterator[CapturedStates]:
    """Within the context, every forward pass stores the states of the last layers; the model does not change.

    Keys of `CapturedStates.relations`, of the last layer of each stack: `encoder.`, `decoder.` and `cross.` followed by
    `query`, `key` or `value`, and the last hidden states `encoder.hidden` and `decoder.hidden`. Decoder-only
    models have only `decoder.` keys. Projections are captured before rotation, norm and scaling. With grouped
    queries, keys and values are narrower.

    Rows and positions are those of the forward pass: in `target_logits`, `encoder.` keys have a row for each source,
    `decoder.` and `cross.` keys for each target; `cross.key` and `cross.value` have the source's positions.
    Each stack deletes its own keys when its forward pass starts, so a skipped layer (layer dropout) has none.

    Args:
        model: of a family in `FAMILIES`, or with a standard layout.

    Raises:
        ModelError: if the layout of the family is unknown.
    """
    captured = CapturedStates()
    with ExitStack() as hooks:
        for part, stack in stacks_of(model.config, model).items():
            module = model.get_submodule(stack.module)
            hooks.callback(module.register_forward_pre_hook(_delete(captured, (part, *stack.attentions))).remove)
            hooks.callback(module.register_forward_hook(_store(captured, (f"{part}.hidden",))).remove)
            last = list(model.get_submodule(stack.layer_list).children())[-1]
            for prefix, attention in stack.attentions.items():
                for name, keys in _keys(prefix, stack.projections).items():
                    projection = last.get_submodule(f"{attention}.{name}")
                    shares = _shares(model.config) if len(keys) > 1 else (1,)
                    hooks.callback(projection.register_forward_hook(_store(captured, keys, shares)).remove)
        yield captured


def attention_heads(model: PreTrainedModel) -> int:
    """The number of query heads in the decoder.

    Raises:
        ModelError: if the layout of the family is unknown.
    """
    stacks_of(model.config, model)
    return _heads(decoder_config(model.config))


def _heads(config: PretrainedConfig) -> int:
    heads = getattr(config, "decoder_attention_heads", None)
    return int(config.num_attention_heads if heads is None else heads)


def _shares(config: PretrainedConfig) -> tuple[int, int, int]:
    """How the width of one projection for query, key and value is shared among them: by their numbers of heads."""
    heads = _heads(config)
    grouped = int(getattr(config, "num_key_value_heads", None) or heads)
    return heads, grouped, grouped


def _keys(prefix: str, projections: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Name of a projection -> the keys of what it computes."""
    keys = tuple(f"{prefix}.{role}" for role in _ROLES)
    if len(projections) == 1:
        return {projections[0]: keys}
    return {name: (key,) for name, key in zip(projections, keys, strict=True)}


def _delete(captured: CapturedStates, prefixes: tuple[str, ...]) -> Callable[[nn.Module, object], None]:
    def hook(_module: nn.Module, _inputs: object) -> None:
        for key in [key for key in captured.relations if key.split(".")[0] in prefixes]:
            del captured.relations[key]

    return hook


def _store(
    captured: CapturedStates, keys: tuple[str, ...], shares: tuple[int, ...] = (1,)
) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    """A hook that stores the output, split along its width into these shares, one for each key."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states = output if isinstance(output, Tensor) else output[0]
        widths = [share * states.shape[-1] // sum(shares) for share in shares]
        captured.relations.update(zip(keys, torch.split(states, widths, dim=-1), strict=True))

    return hook
