"""LoRA adapters: small trained matrices next to frozen weights, merged into these when the network is saved.

The one module that uses peft. An adapted network keeps its class and the names of its modules, so that training,
engines and `families` use it as any other.
Source: Hu et al. 2022 (arXiv:2106.09685).
"""

import copy
from importlib.util import find_spec

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from understudy.config.training import Lora
from understudy.errors import ConfigError, ModelError


def require_peft() -> None:
    """Refuses adapters on a machine without peft.

    Raises:
        ConfigError: with the command that installs it.
    """
    if find_spec("peft") is None:
        raise ConfigError(
            "lora needs the library peft, which is not installed; pip install 'understudy[peft]', or remove lora to "
            "train all weights"
        )


def adapted_layers(model: PreTrainedModel, lora: Lora) -> dict[str, nn.Module]:
    """Name -> each linear layer that gets an adapter; the model's weights are not read.

    Raises:
        ModelError: if a name of `target_modules` is that of no linear layer.
    """
    head = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if lora.target_modules == "all-linear":
        return linear
    found: dict[str, nn.Module] = {}
    for end in lora.target_modules:
        own = {name: module for name, module in linear.items() if f".{name}".endswith(f".{end}")}
        if not own:
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise ModelError(
                f"lora.target_modules names {end!r}, but a {model.config.model_type!r} model has no linear layer whose "
                f"name ends with it; use some of {', '.join(known)}, or all-linear"
            )
        found |= own
    return found


def adapter_parameter_count(model: PreTrainedModel, lora: Lora) -> int:
    """Number of parameters that training with the adapter changes: rank x (inputs + outputs) for each layer.

    Raises:
        ModelError: as `adapted_layers`.
    """
    return sum(lora.rank * sum(layer.get_parameter("weight").shape) for layer in adapted_layers(model, lora).values())


def add_adapter(model: PreTrainedModel, lora: Lora, *, seed: int) -> None:
    """Adds an adapter that changes no output yet, in place, freezes all other weights, and drops no layers.

    Args:
        model: without an adapter, on the CPU.
        lora: the adapter's settings.
        seed: of its initial weights; torch's own random state does not change.

    Raises:
        ModelError: as `adapted_layers`.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = adapted_layers(model, lora)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(layers),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
    )
    training = model.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for module in model.modules():
        if hasattr(module, "layerdrop"):  # M2M100: a step that drops every layer would have nothing to train
            module.layerdrop = 0.0
    model.train(training)


def has_adapter(model: PreTrainedModel) -> bool:
    """Whether the model has an adapter that is not merged."""
    return hasattr(model, "peft_config")


def merge_adapter(model: PreTrainedModel) -> None:
    """Adds the adapter to the weights, in place; the model is then like one without."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
    del model.peft_config


def merged_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with the adapter merged.

    Undoing a merge would round the frozen weights, so that a resumed training ended with other bytes.
    """
    merged = copy.deepcopy(model)
    merge_adapter(merged)
    return merged
