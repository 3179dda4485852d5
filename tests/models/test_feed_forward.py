import copy
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.models.test_families import build
from tests.models.test_layer_order import FAMILY_CONFIGS, batch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from understudy.errors import ModelError
from understudy.models.checkpoint import load_network
from understudy.models.feed_forward import first_neurons, narrowed, narrower_config, neurons_by_activation
from understudy.models.forward import target_logits

TEXTS = [batch([[3, 4, 5]], [[8, 9, 2]]), batch([[6, 7]], [[4, 2]])]
GATED = {"feed_forward_proj": "gated-gelu"}
CONFIGS: dict[str, PretrainedConfig] = {
    **FAMILY_CONFIGS,
    "t5 gated": tf.T5Config(**{**FAMILY_CONFIGS["t5"].to_dict(), **GATED}),
    "phi3": tf.Phi3Config(
        vocab_size=11, pad_token_id=0, bos_token_id=1, eos_token_id=2, hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=8, max_position_embeddings=16, initializer_range=0.3,
    ),
}  # fmt: skip


def deterministic(name: str) -> PreTrainedModel:
    """A random model without dropout, with random biases."""
    model = build(CONFIGS[name])
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "position" in key:  # Marian computes them and saves none
                continue
            weight.add_(torch.randn(weight.shape) * 0.3)
    return model


def logits(model: PreTrainedModel) -> Tensor:
    """Of both texts."""
    with torch.no_grad():
        return torch.cat([target_logits(model, **text) for text in TEXTS])


def test_a_width_that_an_image_encoder_would_get_too_is_refused() -> None:
    """T5Gemma 2 has a width of the same name for images, whose layers no text reads."""
    model = deterministic("t5gemma2")
    with pytest.raises(ModelError, match="leave feed_forward out"):
        narrowed(model, neurons_by_activation(model, TEXTS, 5))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "t5gemma2"])
def test_the_neurons_that_are_removed_add_nothing(name: str, tmp_path: Path) -> None:
    """The narrow model has the logits of the whole one with the columns of the other neurons set to zero."""
    model = deterministic(name)
    neurons = neurons_by_activation(model, TEXTS, 5)
    narrow = narrowed(model, neurons)
    reference = copy.deepcopy(model)
    for out, kept in neurons.items():
        weight = reference.get_submodule(out).weight
        others = [neuron for neuron in range(8 if weight.numel() == 64 else 32) if neuron not in kept]
        with torch.no_grad():
            if isinstance(reference.get_submodule(out), torch.nn.Linear):
                weight[:, others] = 0
            else:
                weight[others] = 0
    narrow.save_pretrained(tmp_path)

    torch.testing.assert_close(logits(narrow), logits(reference))
    torch.testing.assert_close(logits(load_network(str(tmp_path))), logits(narrow))
    assert narrow.num_parameters() < model.num_parameters()


def test_a_score_is_the_mean_activation_times_the_norm_of_the_column() -> None:
    """In a loop over tokens: SwiGLU of the normed hidden states of each layer."""
    model = deterministic("llama")
    kept = neurons_by_activation(model, TEXTS, 3)
    rows = [[3, 4, 5, 8, 9], [6, 7, 4]]
    for number, layer in enumerate(model.model.layers):
        sums = torch.zeros(8)
        for row in rows:
            seen: list[Tensor] = []
            handle = layer.mlp.register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
            with torch.no_grad():
                model(input_ids=torch.tensor([row]), use_cache=False)
            handle.remove()
            for token in seen[0][0]:
                activation = torch.nn.functional.silu(layer.mlp.gate_proj.weight @ token)
                sums += (activation * (layer.mlp.up_proj.weight @ token)).abs().detach()
        scores = sums * layer.mlp.down_proj.weight.detach().pow(2).sum(dim=0).sqrt()

        assert kept[f"model.layers.{number}.mlp.down_proj"] == sorted(scores.argsort(descending=True)[:3].tolist())


def test_a_model_without_known_feed_forward_layers_is_refused() -> None:
    """The message names what was looked for; so is a width that is larger than the model's."""
    with pytest.raises(ModelError, match="'bloom' model were not found: no layer has down_proj with gate_proj"):
        first_neurons(tf.BloomForCausalLM(tf.BloomConfig(vocab_size=11, hidden_size=8, n_layer=1, n_head=2)), 2)
    with pytest.raises(ModelError, match=r"width of 33 .* n_inner 32; set feed_forward to at most 32"):
        narrower_config(CONFIGS["gpt2"], 33)
