"""Students cut from a network: some of its layers, all else as it was.

The families whose layers are known by name are a table; others are refused.
"""

import copy
import re
from collections.abc import Sequence

from transformers import PretrainedConfig, PreTrainedModel

from understudy.errors import ModelError

# family: (name of its layers, the config's field that counts them)
_BART = {"encoder": ("model.encoder.layers", "encoder_layers"), "decoder": ("model.decoder.layers", "decoder_layers")}
_T5 = {"encoder": ("encoder.block", "num_layers"), "decoder": ("decoder.block", "num_decoder_layers")}
_LLAMA = {"decoder": ("model.layers", "num_hidden_layers")}

FAMILIES = {
    "bart": _BART,
    "mbart": _BART,
    "pegasus": _BART,
    "marian": _BART,
    "t5": _T5,
    "mt5": _T5,
    "gpt2": {"decoder": ("transformer.h", "n_layer")},
    "opt": {"decoder": ("model.decoder.layers", "num_hidden_layers")},
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}

# T5 keeps the relative positions of all layers in its first block, whichever block that is.
_SHARED_BY_ALL = "relative_attention_bias"


def prune(
    model: PreTrainedModel,
    *,
    encoder_layers: int | Sequence[int] | None,
    decoder_layers: int | Sequence[int] | None,
) -> PreTrainedModel:
    """A new network of the listed layers, in the listed order; the old one is left as it was.

    Args:
        model: of a family in `FAMILIES`.
        encoder_layers: numbers of the layers to keep, from 0; negative ones count from the end. A single
            number keeps so many, as `spread` chooses them. None: all of them, and the only choice for a
            decoder-only network.
        decoder_layers: the same for the decoder.

    Returns:
        A network with copies of the weights, in the mode, on the device and in the type of `model`.

    Raises:
        ModelError: for a family that is not known, and for layers that do not exist, are kept twice, or
            are none.
    """
    config = copy.deepcopy(model.config)
    sources: dict[str, list[int]] = {}
    for part, kept in kept_layers(config, encoder_layers=encoder_layers, decoder_layers=decoder_layers).items():
        layers, count = FAMILIES[config.model_type][part]
        sources[layers] = kept
        _shrink(config, count, kept)
    pruned = type(model)(config)
    weights = model.state_dict()
    pruned.load_state_dict({name: weights[_origin(name, sources)] for name in pruned.state_dict()})
    pruned.generation_config = copy.deepcopy(model.generation_config)
    return pruned.to(device=model.device, dtype=model.dtype).train(model.training)


def kept_layers(
    config: PretrainedConfig, *, encoder_layers: int | Sequence[int] | None, decoder_layers: int | Sequence[int] | None
) -> dict[str, list[int]]:
    """Encoder, decoder -> the numbers of the layers that `prune` would keep, of each part it was asked to cut.

    Raises:
        ModelError: as `prune`, before there is a network.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"pruning was asked of a {config.model_type!r} network, whose layers are not known by name; "
            f"use one of {', '.join(FAMILIES)}, or a pretrained or scratch student"
        )
    if encoder_layers is not None and "encoder" not in family:
        raise ModelError(
            f"pruning was asked to keep encoder layers {encoder_layers}, but a {config.model_type!r} "
            "network has no encoder; leave encoder_layers out"
        )
    wanted = {"encoder": encoder_layers, "decoder": decoder_layers}
    return {
        part: _kept(part, asked, total=getattr(config, count))
        for part, (_, count) in family.items()
        if (asked := wanted[part]) is not None
    }


def spread(total: int, keep: int, *, of: str = "layers") -> list[int]:
    """Which of `total` layers to keep when only their number is given: evenly spread, first and last kept.

    One layer alone is the first.

    Raises:
        ModelError: if `keep` is not between 1 and `total`.

    Source: Shleifer & Rush 2020 (arXiv:2010.13002).
    """
    if not 1 <= keep <= total:
        raise ModelError(f"{keep} {of} were asked for and there are {total}; keep between 1 and {total}")
    # Halves are rounded up: Python's own rounding would prefer even layers.
    return [(2 * index * (total - 1) + keep - 1) // (2 * (keep - 1)) for index in range(keep)] if keep > 1 else [0]


def _kept(part: str, wanted: int | Sequence[int], *, total: int) -> list[int]:
    if isinstance(wanted, int):
        return spread(total, wanted, of=f"{part} layers")
    kept = [layer + total if layer < 0 else layer for layer in wanted]
    if not kept or len(set(kept)) < len(kept) or not all(0 <= layer < total for layer in kept):
        raise ModelError(
            f"pruning was asked to keep {part} layers {list(wanted)} of {total}; list at least one layer, each "
            f"once, from 0 to {total - 1} or from -{total} to -1"
        )
    return kept


def _shrink(config: PretrainedConfig, count: str, kept: Sequence[int]) -> None:
    setattr(config, count, len(kept))
    # A kind of attention for each layer, where the family tells them apart.
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in kept]


def _origin(name: str, sources: dict[str, list[int]]) -> str:
    """The name that a weight of the pruned network had in the old one."""
    for layers, kept in sources.items():
        if found := re.match(rf"{re.escape(layers)}\.(\d+)\.(.*)", name):
            layer = 0 if _SHARED_BY_ALL in name else kept[int(found[1])]
            return f"{layers}.{layer}.{found[2]}"
    return name
