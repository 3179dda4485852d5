"""The table of model families, and the rule for families that are not in it."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import torch
import transformers as tf
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from understudy.config.model_sections import Architecture
from understudy.errors import ModelError
from understudy.models.attention import attention_heads, capture_attention
from understudy.models.checkpoint import load_network
from understudy.models.families import FAMILIES, layer_counts, stacks_of
from understudy.models.prune import kept_layers, prune

H, HEADS, LAYERS = 8, 2, 4
SMALL = {"vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DECODER = {
    "hidden_size": H, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1,
    "intermediate_size": 8, "max_position_embeddings": 16, "initializer_range": 0.3,
}  # fmt: skip
ENCODER_DECODER = {
    "d_model": H, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
    "init_std": 0.3, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {"d_model": H, "d_kv": 4, "d_ff": 8, "num_layers": LAYERS, "num_heads": HEADS, "decoder_start_token_id": 0}
UNKNOWN: dict[str, PretrainedConfig] = {
    "olmo2": tf.Olmo2Config(**SMALL, **DECODER),
    "stablelm": tf.StableLmConfig(**SMALL, **DECODER),
    "plbart": tf.PLBartConfig(**SMALL, **ENCODER_DECODER),
    "umt5": tf.UMT5Config(**SMALL, **T5),
}
EVERY_UNKNOWN = pytest.mark.parametrize("family", UNKNOWN)
IDS = torch.tensor([[3, 4, 5, 6]])


def build(config: PretrainedConfig) -> PreTrainedModel:
    """A random model without dropout."""
    torch.manual_seed(0)
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return auto.from_config(copy.deepcopy(config)).eval()


def inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """A short row, of both sides of an encoder-decoder."""
    return {"input_ids": IDS} | ({"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {})


def logits(model: PreTrainedModel) -> Tensor:
    """Logits of a short row."""
    with torch.no_grad():
        result: Tensor = model(**inputs(model), use_cache=False).logits
    return result


@EVERY_UNKNOWN
def test_an_unknown_family_with_a_standard_layout_is_pruned(family: str, tmp_path: Path) -> None:
    """The pruned model computes what the whole model computes once its other layers are deleted."""
    model, reference, kept = build(UNKNOWN[family]), build(UNKNOWN[family]), [1, 3]
    assert family not in FAMILIES
    for part in ("encoder", "decoder") if model.config.is_encoder_decoder else ("decoder",):
        name = stacks_of(model.config)[part].layer_list
        layers = reference.get_submodule(name)
        reference.set_submodule(name, torch.nn.ModuleList(layers[index] for index in kept))
    pruned = prune(model, encoder_layers=kept if model.config.is_encoder_decoder else None, decoder_layers=kept)
    if "layer_types" in vars(pruned.config):  # the model reads the config for the kind of a layer
        reference.config.layer_types = pruned.config.layer_types
    pruned.save_pretrained(tmp_path)

    torch.testing.assert_close(logits(pruned), logits(reference))
    torch.testing.assert_close(logits(load_network(str(tmp_path))), logits(pruned))
    assert set(layer_counts(pruned.config).values()) == {2}


@EVERY_UNKNOWN
def test_an_unknown_family_with_a_standard_layout_is_captured(family: str) -> None:
    """The hidden states are those that the model reports; projections have the widths of its heads."""
    model = build(UNKNOWN[family])
    with capture_attention(model) as captured:
        output = model(**inputs(model), use_cache=False, output_hidden_states=True)
    states = output.decoder_hidden_states if model.config.is_encoder_decoder else output.hidden_states

    torch.testing.assert_close(captured.relations["decoder.hidden"], states[-1])
    assert captured.relations["decoder.query"].shape == (1, 4, H)
    width = H if model.config.is_encoder_decoder else H // HEADS
    assert captured.relations["decoder.value"].shape == (1, 4, width)
    assert ("cross.key" in captured.relations) == model.config.is_encoder_decoder
    assert attention_heads(model) == HEADS


@EVERY_UNKNOWN
def test_layers_are_known_before_weights_are_loaded(family: str) -> None:
    """The config is enough to choose the layers of a pruned student."""
    assert kept_layers(UNKNOWN[family], encoder_layers=None, decoder_layers=2) == {"decoder": [0, 3]}


def test_layers_of_different_kinds_are_refused() -> None:
    """A dense layer cannot take the place of a layer of experts; the message names the family and the layers."""
    config = tf.Qwen2MoeConfig(
        **SMALL, **DECODER, moe_intermediate_size=8, shared_expert_intermediate_size=8, num_experts=2,
        num_experts_per_tok=1, mlp_only_layers=[0],
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"'qwen2_moe'.*\[1, 2\].*differ in kind"):
        prune(build(config), encoder_layers=None, decoder_layers=[1, 2])


def test_a_family_without_a_standard_layout_is_refused() -> None:
    """BLOOM keeps its layers elsewhere; the message names what was looked for."""
    config = tf.BloomConfig(**SMALL, hidden_size=8, n_layer=2, n_head=2)
    with pytest.raises(ModelError, match=r"'bloom'.*bart, mbart.*model\.layers with self_attn\.\{q,k,v\}_proj"):
        stacks_of(config)


def test_a_config_that_generates_no_text_is_refused() -> None:
    """The same error, whatever transformers raises."""
    with pytest.raises(ModelError, match="'clip'"):
        stacks_of(tf.CLIPConfig())


def test_every_architecture_of_a_recipe_can_be_built() -> None:
    """The architectures that a recipe may name are those with a config from sizes."""
    assert {name for name, family in FAMILIES.items() if family.scratch} == set(get_args(Architecture))
