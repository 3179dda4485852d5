"""Pruning: a new model with some of the layers of another, everything else unchanged.

Where the layers are comes from `families`.
"""

import copy
import re
from collections.abc import Callable, Container, Mapping, Sequence

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from understudy.errors import ModelError, first_line
from understudy.models.families import counted_by, layer_count, stacks_of

# T5 keeps the relative positions of all layers in its first block, whichever block that is; UMT5 has them in each.
_SHARED_BY_ALL = "relative_attention_bias"


def prune(
    model: PreTrainedModel,
    *,
    encoder_layers: int | Sequence[int] | None,
    decoder_layers: int | Sequence[int] | None,
) -> PreTrainedModel:
    """A new model of the listed layers, in the listed order; the given model does not change.

    Args:
        model: of a family in `FAMILIES`, or with a standard layout.
        encoder_layers: indices of the layers to keep, from 0; negative ones count from the end. A single
            number keeps that many, chosen by `spread`. None: all of them, and the only choice for a
            decoder-only model.
        decoder_layers: the same for the decoder.

    Returns:
        A model with copies of the weights, in the mode, on the device and in the dtype of `model`.

    Raises:
        ModelError: if the layout of the family is unknown, or if layers do not exist, are listed twice, or
            none is listed.
    """
    kept = kept_layers(model.config, encoder_layers=encoder_layers, decoder_layers=decoder_layers, model=model)
    config, weights = _of_layers(model, kept)
    pruned = type(model)(config)
    _load(pruned, weights, kept)
    pruned.generation_config = copy.deepcopy(model.generation_config)
    return pruned.to(device=model.device, dtype=model.dtype).train(model.training)


def shared_layers(model: PreTrainedModel, kept: Mapping[str, Sequence[int]]) -> PreTrainedModel:
    """What `prune` returns, but with the weights of `model` itself: for evaluation, made in milliseconds.

    Args:
        model: as in `prune`.
        kept: encoder, decoder -> the indices of the layers to keep, as `kept_layers` returns them.

    Raises:
        ModelError: as `prune`.
    """
    config, weights = _of_layers(model, kept)
    with no_init_weights():  # else most of the time would go into random weights that are replaced
        pruned = type(model)(config)
    _load(pruned, weights, kept, assign=True)
    return pruned.to(device=model.device, dtype=model.dtype).train(model.training)


def kept_layers(
    config: PretrainedConfig,
    *,
    encoder_layers: int | Sequence[int] | None,
    decoder_layers: int | Sequence[int] | None,
    model: PreTrainedModel | None = None,
) -> dict[str, list[int]]:
    """Encoder, decoder -> the indices of the layers that `prune` would keep, for each part to be pruned.

    Args:
        config: of the model to prune.
        encoder_layers: as in `prune`.
        decoder_layers: as in `prune`.
        model: as in `families.stacks_of`; not needed.

    Raises:
        ModelError: as `prune`, before any weights are loaded.
    """
    stacks = stacks_of(config, model)
    if encoder_layers is not None and "encoder" not in stacks:
        raise ModelError(
            f"pruning was requested to keep encoder layers {encoder_layers}, but a {config.model_type!r} model has no "
            "encoder; leave encoder_layers out"
        )
    requested = {"encoder": encoder_layers, "decoder": decoder_layers}
    return {
        part: _kept(part, layers, total=layer_count(config, stack))
        for part, stack in stacks.items()
        if (layers := requested[part]) is not None
    }


def spread(total: int, keep: int, *, of: str = "layers") -> list[int]:
    """Which of `total` layers to keep when only their number is given: evenly spread, first and last kept.

    A single layer is the first.

    Raises:
        ModelError: if `keep` is not between 1 and `total`.

    Source: Shleifer & Rush 2020 (arXiv:2010.13002).
    """
    if not 1 <= keep <= total:
        raise ModelError(f"{keep} {of} were requested and there are {total}; keep between 1 and {total}")
    # Halves are rounded up: Python's own rounding would prefer even layers.
    return [(2 * index * (total - 1) + keep - 1) // (2 * (keep - 1)) for index in range(keep)] if keep > 1 else [0]


def _of_layers(
    model: PreTrainedModel, kept: Mapping[str, Sequence[int]]
) -> tuple[PretrainedConfig, Callable[[str], Tensor]]:
    """The config of a model with only these layers, and the weight of the original for each of its names."""
    config, stacks, weights = copy.deepcopy(model.config), stacks_of(model.config, model), model.state_dict()
    for part, own in kept.items():
        _shrink(*counted_by(config, stacks[part]), own)
    kept_by_list = {stacks[part].layer_list: own for part, own in kept.items()}
    return config, lambda name: weights[_origin(name, kept_by_list, weights)]


def _load(
    pruned: PreTrainedModel,
    weight: Callable[[str], Tensor],
    kept: Mapping[str, Sequence[int]],
    *,
    assign: bool = False,
) -> None:
    try:
        pruned.load_state_dict({name: weight(name) for name in pruned.state_dict()}, assign=assign)
    except (KeyError, RuntimeError) as error:  # layers that are not interchangeable, as dense and expert layers
        raise ModelError(
            f"pruning a {pruned.config.model_type!r} model to the layers {dict(kept)} failed, because its layers "
            f"differ in kind ({first_line(error)}); keep layers that have the kinds of those they replace, or use a "
            "pretrained or scratch student"
        ) from error


def _kept(part: str, requested: int | Sequence[int], *, total: int) -> list[int]:
    if isinstance(requested, int):
        return spread(total, requested, of=f"{part} layers")
    kept = [layer + total if layer < 0 else layer for layer in requested]
    if not kept or len(set(kept)) < len(kept) or not all(0 <= layer < total for layer in kept):
        raise ModelError(
            f"pruning was requested to keep {part} layers {list(requested)} of {total}; list at least one layer, each "
            f"once, from 0 to {total - 1} or from -{total} to -1"
        )
    return kept


def _shrink(config: PretrainedConfig, count: str, kept: Sequence[int]) -> None:
    total = getattr(config, count)
    setattr(config, count, len(kept))
    # Lists with an entry per layer, such as `layer_types` or SmolLM3's `no_rope_layers`.
    for key, value in list(vars(config).items()):
        if "layer" in key and isinstance(value, list | tuple) and len(value) == total:
            setattr(config, key, [value[layer] for layer in kept])


def _origin(name: str, kept_by_list: Mapping[str, Sequence[int]], weights: Container[str]) -> str:
    """The name that a weight of the pruned model has in the original model, whose names are `weights`."""
    for layer_list, kept in kept_by_list.items():
        if found := re.match(rf"{re.escape(layer_list)}\.(\d+)\.(.*)", name):
            own = f"{layer_list}.{kept[int(found[1])]}.{found[2]}"
            return f"{layer_list}.0.{found[2]}" if _SHARED_BY_ALL in name and own not in weights else own
    return name
