"""Gradient checkpointing: layers keep their inputs only, and are computed again in the backward pass.

It is torch's own; which modules are layers is transformers' choice. transformers' own switch works in training mode
only, but a student may be trained without dropout.
"""

from collections.abc import Iterator
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
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if enabled and not layers:
        raise ModelError(
            f"training.gradient_checkpointing recomputes layers, but transformers marks none in "
            f"{type(model).__name__}; leave it out, and lower batch_tokens to save memory"
        )
    for layer in layers if enabled else ():
        layer.forward = partial(_recomputed, layer.forward)
    try:
        yield
    finally:
        for layer in layers if enabled else ():
            del layer.forward  # what is left is the method of its class


def _recomputed(forward: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of any layer
    if torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)
