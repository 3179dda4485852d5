"""Compiled layers: torch.compile for each layer of a network, so that equal layers share their code.

Which modules are layers is transformers' choice, as for gradient checkpointing.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from understudy.errors import ConfigError, ModelError

COMPILERS = ("g++", "clang++")
"""The C++ compilers that torch looks for, where the variable CXX names none."""


def require_compiler() -> None:
    """Refuses compiled layers on a machine without a C++ compiler.

    Raises:
        ConfigError: with what to install.
    """
    tried = [os.environ["CXX"]] if os.environ.get("CXX") else COMPILERS
    if not any(map(shutil.which, tried)):
        raise ConfigError(
            f"compile_layers needs a C++ compiler, but there is no {' and no '.join(tried)}; install one (Debian: apt "
            "install g++), or leave compile_layers out"
        )


@contextmanager
def compiled_layers(model: PreTrainedModel, *, enabled: bool = True) -> Iterator[None]:
    """Within the context, layers run compiled code, made at the first calls; weights and their names do not change.

    Results are the same up to the order of float sums; that order may differ from process to process.

    Raises:
        ModelError: if transformers marks no layers in the model.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if enabled and not layers:
        raise ModelError(
            f"training.compile_layers compiles layers, but transformers marks none in {type(model).__name__}; leave it "
            "out"
        )
    replaced = [(layer, vars(layer).get("forward")) for layer in layers if enabled]
    for layer, _ in replaced:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer, before in replaced:
            del layer.forward  # what is left is the method of its class
            if before is not None:  # gradient checkpointing
                layer.forward = before
