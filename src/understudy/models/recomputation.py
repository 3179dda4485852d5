"""Gradient checkpointing: layers keep their inputs only, and are computed again in the backward pass.

It is torch's own; transformers' switch works in training mode only, but a student may be trained without dropout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from understudy.models.layers import Forward, layers_called


@contextmanager
def recomputed_layers(model: PreTrainedModel, *, enabled: bool = True) -> Iterator[None]:
    """Within the context, each layer stores nothing for the backward pass but its inputs; gradients are the same.

    Dropout is repeated with the random numbers of the forward pass.

    Raises:
        ModelError: if transformers marks no layers in the model.

    Source: Chen et al. 2016 (arXiv:1604.06174).
    """
    if not enabled:
        yield
        return
    with layers_called(model, "gradient_checkpointing", lambda own: partial(_recomputed, own)):
        yield


def _recomputed(forward: Forward, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of any layer
    if torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)
