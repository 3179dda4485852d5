"""LoRA adapters: what they compute against the formula, merged networks, and what is refused."""

import builtins
import copy
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.models.test_attention import CONFIGS
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.training import Lora
from understudy.errors import ConfigError, ModelError
from understudy.models import adapters
from understudy.models.adapters import adapted_layers, adapter_parameter_count, add_adapter, has_adapter, merge_adapter
from understudy.models.attention import attention_heads, capture_attention
from understudy.models.checkpoint import load_network, parameter_count, save_network

GEMMA = tf.Gemma3TextConfig(
    vocab_size=11, pad_token_id=0, bos_token_id=1, eos_token_id=2, hidden_size=8, num_hidden_layers=2, head_dim=4,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=8, max_position_embeddings=16,
    initializer_range=0.3, sliding_window=2,
)  # fmt: skip
FAMILIES = {**{name: CONFIGS[name] for name in ("gpt2", "llama", "t5", "bart")}, "gemma3_text": GEMMA}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
LORA = Lora(rank=3, alpha=6.0)
IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]])


def build(family: str) -> PreTrainedModel:
    """A random network of two layers on each side, without dropout."""
    torch.manual_seed(0)
    config = copy.deepcopy(FAMILIES[family])
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    network: PreTrainedModel = auto.from_config(config).eval()
    return network


def adapted(family: str, lora: Lora = LORA) -> PreTrainedModel:
    """A network with an adapter as after some training: neither of its matrices is zero."""
    network = build(family)
    add_adapter(network, lora, seed=5)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return network


def logits(network: PreTrainedModel) -> Tensor:
    """Logits of two rows."""
    inputs = {"input_ids": IDS} | ({"decoder_input_ids": IDS} if network.config.is_encoder_decoder else {})
    with torch.no_grad():
        found: Tensor = network(**inputs, use_cache=False).logits
    return found


def greedy(network: PreTrainedModel) -> list[list[int]]:
    """Greedy continuations."""
    ids: Tensor = network.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=6, do_sample=False)
    return ids.tolist()


@EVERY_FAMILY
def test_an_adapter_computes_what_the_paper_says(family: str) -> None:
    """A plain network whose chosen matrices are W + (alpha / rank) * B A gives the same logits (Hu et al. 2022)."""
    network, reference = adapted(family), build(family)
    weights = dict(network.named_parameters())
    layers = adapted_layers(reference, LORA)
    with torch.no_grad():
        for name, layer in layers.items():
            update = weights[f"{name}.lora_B.default.weight"] @ weights[f"{name}.lora_A.default.weight"]
            update = update.T if family == "gpt2" else update  # Conv1D holds its matrix transposed
            layer.get_parameter("weight").add_(6.0 / 3 * update)

    assert len(layers) == {"gpt2": 8, "llama": 14, "t5": 32, "bart": 32, "gemma3_text": 14}[family]
    torch.testing.assert_close(logits(network), logits(reference), atol=1e-5, rtol=0)
    assert (logits(network) - logits(build(family))).abs().max() > 0.01


@EVERY_FAMILY
def test_a_saved_network_is_merged_and_plain(family: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """The folder holds an ordinary checkpoint with the same logits and greedy text; the live network is unchanged."""
    network = adapted(family)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_network(network, tokenizer, tmp_path)
    loaded = load_network(str(tmp_path))

    assert loaded.state_dict().keys() == build(family).state_dict().keys()
    assert not (tmp_path / "adapter_config.json").exists()
    torch.testing.assert_close(logits(loaded), logits(network), atol=1e-5, rtol=0)
    assert greedy(loaded) == greedy(network)
    assert has_adapter(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@EVERY_FAMILY
def test_a_merged_network_is_like_one_without_adapter(family: str) -> None:
    """Merging in place gives the same logits and the modules of the family."""
    network = adapted(family)
    expected = logits(network)
    merge_adapter(network)

    torch.testing.assert_close(logits(network), expected, atol=1e-5, rtol=0)
    assert [(name, type(module)) for name, module in network.named_modules()] == [
        (name, type(module)) for name, module in build(family).named_modules()
    ]
    assert not has_adapter(network)


@EVERY_FAMILY
def test_only_the_adapter_is_trained(family: str) -> None:
    """At first it changes no output; every matrix of it gets a gradient, no other weight does."""
    network = build(family)
    before = logits(network)
    add_adapter(network, LORA, seed=5)

    torch.testing.assert_close(logits(network), before, atol=0, rtol=0)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if ".lora_" in name}
    expected = adapter_parameter_count(build(family), LORA)
    assert parameter_count(network, trained=True) == expected
    assert sum(network.get_parameter(name).numel() for name in trained) == expected

    network = adapted(family)
    inputs = {"input_ids": IDS} | ({"decoder_input_ids": IDS} if network.config.is_encoder_decoder else {})
    torch.autograd.backward(network(**inputs, use_cache=False).logits.square().sum())
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == trained


def test_initial_weights_follow_from_the_seed() -> None:
    """Equal seeds, equal weights; torch's own random state does not change."""
    networks = [build("llama") for _ in range(3)]
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        add_adapter(network, LORA, seed=seed)
    first, same, other = (network.get_submodule("model.layers.0.self_attn.q_proj.lora_A") for network in networks)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.default.weight, same.default.weight)
    assert not torch.equal(first.default.weight, other.default.weight)


def test_named_modules_are_adapted_alone() -> None:
    """A name may be the end of a longer one, also with dots."""
    network = build("llama")
    add_adapter(network, Lora(target_modules=("q_proj", "mlp.up_proj")), seed=0)
    names = {name.partition(".lora_")[0] for name, own in network.named_parameters() if own.requires_grad}

    assert names == {f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.q_proj", "mlp.up_proj")}


@pytest.mark.parametrize("name", ["q_projection", "lm_head", "proj", "input_layernorm"])
def test_an_unknown_target_module_is_refused(name: str) -> None:
    """Also one that exists and is no linear layer of attention or feed-forward; the message has those there are."""
    with pytest.raises(ModelError, match=rf"{name}.*llama.*down_proj, gate_proj.*all-linear"):
        add_adapter(build("llama"), Lora(target_modules=("q_proj", name)), seed=0)


@EVERY_FAMILY
def test_attention_is_found_in_an_adapted_network(family: str) -> None:
    """Relations between positions are compared in the states that the adapter changes too."""
    network, merged = adapted(family), adapted(family)
    merge_adapter(merged)
    states = []
    for one in (network, merged):
        with capture_attention(one) as captured:
            logits(one)
        states.append(dict(captured.relations))

    assert attention_heads(network) == attention_heads(merged)
    assert states[0].keys() == states[1].keys() != set()
    for key, state in states[0].items():
        torch.testing.assert_close(state, states[1][key], atol=1e-5, rtol=0)


def test_without_peft_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is imported from it."""
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else builtins.object())
    with pytest.raises(ConfigError, match=r"peft.*pip install 'understudy\[peft\]'"):
        adapters.require_peft()


def test_no_layer_is_dropped_in_training() -> None:
    """A step of M2M100 that dropped all layers would have nothing to train, and no gradient."""
    small = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 50}
    config = tf.M2M100Config(**small, encoder_layers=1, decoder_layers=1, encoder_layerdrop=1.0, decoder_layerdrop=1.0)
    network = tf.AutoModelForSeq2SeqLM.from_config(config).train()
    add_adapter(network, LORA, seed=5)

    network(input_ids=IDS, decoder_input_ids=IDS, labels=IDS).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
