"""The layers of a network as transformers marks them, and other ways to call them for a while."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from understudy.errors import ModelError

Forward = Callable[..., Any]


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


@contextmanager
def layers_called(model: PreTrainedModel, setting: str, wrap: Callable[[Forward], Forward]) -> Iterator[None]:
    """Within the context, `wrap(forward)` takes the place of each layer's `forward`; contexts can be nested.

    Raises:
        ModelError: as `marked_layers`.
    """
    replaced = [(layer, vars(layer).get("forward")) for layer in marked_layers(model, setting)]
    for layer, _ in replaced:
        layer.forward = wrap(layer.forward)
    try:
        yield
    finally:
        for layer, before in replaced:
            del layer.forward  # what is left is the method of its class
            if before is not None:
                layer.forward = before
