"""Narrower feed-forward layers: the intermediate neurons with the largest activations are kept, without training.

A neuron is a row of the projections into a feed-forward layer and a column of the one out of it. Its score is the mean
size of what it adds to the hidden states,

    score = mean over tokens of |activation| · norm of its column

Where the projections are is found by their names (`PROJECTIONS`), in encoder and decoder alike.
Source: Muralidharan et al. 2024 (arXiv:2407.14679), section 2.2, rank neurons by their activations.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from understudy.errors import ModelError, first_line
from understudy.models.forward import target_logits
from understudy.models.layer_order import TextBatch

PROJECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("down_proj", ("gate_proj", "up_proj")),
    ("down_proj", ("gate_up_proj",)),
    ("fc2", ("fc1",)),
    ("c_proj", ("c_fc",)),
    ("wo", ("wi_0", "wi_1")),
    ("wo", ("wi",)),
)
"""The projection out of a feed-forward layer, and those into it; `gate_up_proj` holds both, one after the other."""
WIDTH_NAMES = ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner")
"""Fields of configs with the width of feed-forward layers."""
Neurons = Mapping[str, Sequence[int]]
"""Name of the projection out of a feed-forward layer -> indices of its neurons."""


def neurons_by_activation(model: PreTrainedModel, texts: Sequence[TextBatch], width: int) -> dict[str, list[int]]:
    """The neurons of each feed-forward layer with the largest scores, in their order in the model.

    Args:
        model: with feed-forward layers of known names, in evaluation mode; it does not change.
        texts: one text per batch, because the activations of padding would count.
        width: how many to keep.

    Raises:
        ModelError: if no feed-forward layer is found.
    """
    sums_N: dict[str, Tensor] = {}

    def add(name: str, activations: Tensor) -> None:
        sums_N[name] = sums_N.get(name, 0) + activations.abs().flatten(0, -2).double().sum(dim=0)

    with ExitStack() as hooks, torch.inference_mode():
        for name in feed_forwards(model):
            handle = model.get_submodule(name).register_forward_pre_hook(
                lambda _module, inputs, name=name: add(name, inputs[0])
            )
            hooks.callback(handle.remove)
        for text in texts:
            target_logits(model, **text)
    kept, weights = {}, model.state_dict()
    for name, sum_N in sums_N.items():
        norms_N = weights[f"{name}.weight"].double().norm(dim=1 - _axis(model, name, inputs=True))
        kept[name] = sorted((sum_N * norms_N).topk(width).indices.tolist())
    return kept


def first_neurons(model: PreTrainedModel, width: int) -> dict[str, list[int]]:
    """As many neurons of each feed-forward layer, for a network whose size matters and whose texts do not.

    Raises:
        ModelError: if no feed-forward layer is found.
    """
    return {name: list(range(width)) for name in feed_forwards(model)}


def narrowed(model: PreTrainedModel, neurons: Neurons) -> PreTrainedModel:
    """A new model with some neurons of every feed-forward layer; the given model does not change.

    Args:
        model: the model whose feed-forward layers `neurons` names.
        neurons: the ones to keep, as many of each layer.

    Raises:
        ModelError: if the layers are of another kind than the config says.
    """
    width, weights = len(next(iter(neurons.values()))), dict(model.state_dict())
    for name, into in feed_forwards(model).items():
        if name not in neurons:  # a layer that read no text, of an image encoder
            continue
        total, kept_N = _neurons(weights, model, name, inputs=True), torch.tensor(neurons[name], device=model.device)
        _select(weights, model, name, kept_N, inputs=True)
        for projection in into:
            halves = _neurons(weights, model, projection) // total
            _select(weights, model, projection, torch.cat([kept_N + half * total for half in range(halves)]))
    try:
        narrow = type(model)(narrower_config(model.config, width))
        narrow.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"the feed-forward layers of a {model.config.model_type!r} model cannot be given the width {width} "
            f"({first_line(error)}); leave feed_forward out"
        ) from error
    narrow.generation_config = copy.deepcopy(model.generation_config)
    return narrow.to(device=model.device, dtype=model.dtype).train(model.training)


def narrower_config(config: PretrainedConfig, width: int) -> PretrainedConfig:
    """The config of a model with feed-forward layers of this width.

    Raises:
        ModelError: if those of the model are narrower, or their width is in no known field.
    """
    narrow = copy.deepcopy(config)
    fields = [(own, name) for own in _configs(narrow) for name in WIDTH_NAMES if name in vars(own)]
    if not fields:
        raise ModelError(
            f"a width of {width} was requested for the feed-forward layers of a {config.model_type!r} model, whose "
            f"config has none of the fields {', '.join(WIDTH_NAMES)}; leave feed_forward out"
        )
    for own, name in fields:
        found = getattr(own, name) or 4 * own.hidden_size  # GPT-2 has None for four times its width
        if width > found:
            raise ModelError(
                f"a width of {width} was requested for feed-forward layers, and those of the {config.model_type!r} "
                f"model have {name} {found}; set feed_forward to at most {found}"
            )
        setattr(own, name, width)
    return narrow


def feed_forwards(model: PreTrainedModel) -> dict[str, tuple[str, ...]]:
    """Name of the projection out of each feed-forward layer -> names of those into it.

    Raises:
        ModelError: if there is none.
    """
    names, found = dict(model.named_modules()), {}
    for name in names:
        parent, _, own = name.rpartition(".")
        for out, into in PROJECTIONS:
            projections = tuple(f"{parent}.{one}" for one in into)
            if own == out and names.keys() >= set(projections):
                found[name] = projections
    if not found:
        known = " or ".join(f"{out} with {' and '.join(into)}" for out, into in PROJECTIONS)
        raise ModelError(
            f"the feed-forward layers of a {model.config.model_type!r} model were not found: no layer has {known}; "
            "leave feed_forward out"
        )
    return found


def _configs(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """A config and those in it: some families have one each for encoder and decoder."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from _configs(value)


def _axis(model: PreTrainedModel, name: str, *, inputs: bool) -> int:
    """The axis of a projection's weight with its inputs or outputs: Conv1D of GPT-2 has them the other way round."""
    return int(inputs) ^ isinstance(model.get_submodule(name), Conv1D)


def _neurons(weights: Mapping[str, Tensor], model: PreTrainedModel, name: str, *, inputs: bool = False) -> int:
    return weights[f"{name}.weight"].shape[_axis(model, name, inputs=inputs)]


def _select(
    weights: dict[str, Tensor], model: PreTrainedModel, name: str, kept_N: Tensor, *, inputs: bool = False
) -> None:
    """Keeps some inputs or outputs of a projection."""
    axis = _axis(model, name, inputs=inputs)
    weights[f"{name}.weight"] = weights[f"{name}.weight"].index_select(axis, kept_N)
    if not inputs and f"{name}.bias" in weights:
        weights[f"{name}.bias"] = weights[f"{name}.bias"].index_select(0, kept_N)
