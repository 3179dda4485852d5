"""Gradient checkpointing: layers keep their inputs only, and are computed again in the backward pass.

It is torch's own; which modules are layers is transformers' choice. transformers' own switch works in training mode
only, but a student may be trained without dropout.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from understudy.errors import ModelError


@contextmanager
def recomputed_layers(model: PreTrainedModel, *, enabled: bool = True) -> Iterator[None]:
    """Within the context, each layer stores nothing for the backward pass but its inputs; gradients are the same.

    Dropout is repeated with the random numbers of the forward pass.

    Raises:
        ModelError: if transformers marks no layers in the model.

    Source: Chen et al. 2016 (arXiv:1604.06174).
    """
    layers = marked_layers(model, "gradient_checkpointing") if enabled else ()
    for layer in layers:
        layer.forward = partial(_recomputed, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # what is left is the method of its class


def marked_layers(model: PreTrainedModel, setting: str) -> Sequence[nn.Module]:
    """The layers of a model, for a setting of a training that needs them.

    Raises:
        ModelError: if transformers marks none.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"{setting} is about the layers of a network, but transformers marks none in {type(model).__name__}; leave "
            f"{setting} out, or use another model"
        )
    return layers


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of any layer
    if torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)
