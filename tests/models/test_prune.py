import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as tf
from torch import Tensor
from transformers import PreTrainedModel

from understudy.errors import ModelError
from understudy.models.checkpoint import load_network
from understudy.models.families import FAMILIES, layer_counts
from understudy.models.prune import prune, spread

LAYERS = 5
SMALL = {"vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {
    "d_model": 8, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
    "init_std": 0.3, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": LAYERS, "num_heads": 2, "decoder_start_token_id": 0}
DECODER = {
    "hidden_size": 8, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "max_position_embeddings": 16,
    "initializer_range": 0.3, "intermediate_size": 8,
}  # fmt: skip
OPT = {
    "hidden_size": 8, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "max_position_embeddings": 16,
    "ffn_dim": 8, "word_embed_proj_dim": 8, "init_std": 0.3,
}  # fmt: skip
GPT2 = {"n_embd": 8, "n_layer": LAYERS, "n_head": 2, "n_positions": 16, "initializer_range": 0.3}
GEMMA = {
    **SMALL, **DECODER, "num_key_value_heads": 1, "head_dim": 4, "sliding_window": 2,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
}  # fmt: skip
VISION = {
    "model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "image_size": 16, "patch_size": 8,
}  # fmt: skip

CONFIGS = {
    "bart": tf.BartConfig(**SMALL, **BART),
    "mbart": tf.MBartConfig(**SMALL, **BART),
    "pegasus": tf.PegasusConfig(**SMALL, **BART),
    "marian": tf.MarianConfig(**SMALL, **BART, decoder_vocab_size=11),
    "t5": tf.T5Config(**SMALL, **T5),
    "mt5": tf.MT5Config(**SMALL, **T5),
    "gpt2": tf.GPT2Config(**SMALL, **GPT2),
    "opt": tf.OPTConfig(**SMALL, **OPT),
    "llama": tf.LlamaConfig(**SMALL, **DECODER),
    "mistral": tf.MistralConfig(**SMALL, **DECODER, num_key_value_heads=1),
    "qwen2": tf.Qwen2Config(**SMALL, **DECODER, num_key_value_heads=1, use_sliding_window=True, max_window_layers=2),
    "qwen3": tf.Qwen3Config(**SMALL, **DECODER, num_key_value_heads=1, head_dim=4),
    # Layers with a sliding window have a rotary embedding of their own.
    # It skips the rotary embedding in some layers, by a list with an entry per layer.
    "smollm3": tf.SmolLM3Config(**SMALL, **DECODER, num_key_value_heads=1, no_rope_layers=[1, 0, 1, 1, 0]),
    "phi3": tf.Phi3Config(**SMALL, **DECODER, num_key_value_heads=1),
    "gemma": tf.GemmaConfig(**SMALL, **DECODER, num_key_value_heads=1, head_dim=4),
    "gemma2": tf.Gemma2Config(**SMALL, **DECODER, num_key_value_heads=1, head_dim=4, sliding_window=2),
    "t5gemma": tf.T5GemmaConfig(encoder=GEMMA, decoder=GEMMA, decoder_start_token_id=1, **SMALL),
    "t5gemma2": tf.T5Gemma2Config(
        encoder={"text_config": GEMMA, "vision_config": VISION}, decoder=GEMMA, decoder_start_token_id=1, **SMALL
    ),
    "m2m_100": tf.M2M100Config(**SMALL, **BART),
    "gemma3_text": tf.Gemma3TextConfig(
        **SMALL,
        **DECODER,
        num_key_value_heads=1,
        head_dim=4,
        sliding_window=2,
        layer_types=["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
    ),
}


def build(family: str) -> PreTrainedModel:
    """A random model of five layers on each side."""
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return auto.from_config(config).eval()


def logits(model: PreTrainedModel) -> Tensor:
    """Logits of a short row."""
    ids = torch.tensor([[3, 4, 5, 6]])
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        result: Tensor = model(input_ids=ids, use_cache=False, **more).logits
    return result


def nested_configs(config: tf.PretrainedConfig) -> Iterator[tf.PretrainedConfig]:
    """A config and those nested in it."""
    yield config
    for value in vars(config).values():
        if isinstance(value, tf.PretrainedConfig):
            yield from nested_configs(value)


def cut_in_place(model: PreTrainedModel, layers: str, kept: list[int]) -> None:
    """The same by deleting modules from the old model."""
    modules = model.get_submodule(layers)
    bias = getattr(getattr(modules[0], "layer", [None])[0], "SelfAttention", None)
    model.set_submodule(layers, torch.nn.ModuleList(modules[index] for index in kept))
    if bias is not None and 0 not in kept:
        first = model.get_submodule(layers)[0].layer[0].SelfAttention
        first.relative_attention_bias, first.has_relative_attention_bias = bias.relative_attention_bias, True


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kept", [[0, 2, 4], [1, -1]], ids=str)
def test_keeps_the_listed_layers(family: str, kept: list[int]) -> None:
    """The pruned model has the logits of the old one with its other layers deleted."""
    model, reference = build(family), build(family)
    for stack in FAMILIES[family].stacks.values():
        cut_in_place(reference, stack.layer_list, [layer % LAYERS for layer in kept])
    pruned = prune(model, encoder_layers=kept if "encoder" in FAMILIES[family].stacks else None, decoder_layers=kept)
    for ours, theirs in zip(nested_configs(pruned.config), nested_configs(reference.config), strict=True):
        if "layer_types" in vars(ours):  # the model reads the config for the kind of a layer
            theirs.layer_types, theirs.num_hidden_layers = ours.layer_types, ours.num_hidden_layers

    torch.testing.assert_close(logits(pruned), logits(reference))
    assert set(layer_counts(pruned.config).values()) == {len(kept)}


@pytest.mark.parametrize("family", FAMILIES)
def test_survives_saving(family: str, tmp_path: Path) -> None:
    """The folder of a pruned model loads like any other checkpoint."""
    pruned = prune(build(family), encoder_layers=None, decoder_layers=[1, 3])
    pruned.save_pretrained(tmp_path)

    torch.testing.assert_close(logits(load_network(str(tmp_path))), logits(pruned))


def test_does_not_change_the_teacher() -> None:
    """Training the student does not change the model it was pruned from."""
    model = build("bart")
    before = logits(model)
    pruned = prune(model, encoder_layers=[0], decoder_layers=[0])
    with torch.no_grad():
        for weight in pruned.parameters():
            weight.zero_()

    torch.testing.assert_close(logits(model), before)
    assert model.config.encoder_layers == LAYERS


@pytest.mark.parametrize("wanted", [[], [0, 5], [0, -6], [1, 1], [4, -1]], ids=str)
def test_layers_that_cannot_be_kept_are_refused(wanted: list[int]) -> None:
    """None, absent ones and one twice: the message has the list and the valid indices."""
    with pytest.raises(ModelError, match=r"keep decoder layers \[.*\] of 5; .* from 0 to 4 or from -5 to -1"):
        prune(build("gpt2"), encoder_layers=None, decoder_layers=wanted)


def test_layers_of_a_missing_encoder_are_refused() -> None:
    """A decoder-only model has no encoder layers."""
    with pytest.raises(ModelError, match=r"keep encoder layers \[0\], but a 'gpt2' model has no encoder"):
        prune(build("gpt2"), encoder_layers=[0], decoder_layers=[0])


def test_an_unknown_family_is_refused() -> None:
    """The message names the families that can be pruned."""
    config = tf.BloomConfig(vocab_size=11, hidden_size=8, n_layer=2, n_head=2)
    with pytest.raises(ModelError, match=r"'bloom' model.*bart, mbart.*model\.layers.*scratch student"):
        prune(tf.BloomForCausalLM(config), encoder_layers=None, decoder_layers=[0])


@pytest.mark.parametrize(
    ("total", "keep", "expected"),
    [(12, 2, [0, 11]), (12, 1, [0]), (6, 3, [0, 3, 5]), (12, 4, [0, 4, 7, 11]), (5, 5, [0, 1, 2, 3, 4])],
)
def test_spread_keeps_first_and_last(total: int, keep: int, expected: list[int]) -> None:
    """Layers are kept at even distances."""
    assert spread(total, keep) == expected


@pytest.mark.parametrize("keep", [0, 7])
def test_spread_refuses_an_impossible_number(keep: int) -> None:
    """No layer, or more than there are, cannot be kept."""
    with pytest.raises(ModelError, match=f"{keep} layers.*there are 6; keep between 1 and 6"):
        spread(6, keep)
