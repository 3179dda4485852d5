from pathlib import Path

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.model_sections import Architecture
from understudy.errors import ModelError
from understudy.models.checkpoint import (
    checkpoint_parameter_count,
    config_of,
    disk_bytes,
    load_network,
    parameter_count,
    save_network,
)
from understudy.models.scratch import ARCHITECTURES, build_network


def build(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The smallest model of its kind."""
    return build_network(
        small(architecture, width=8, feed_forward=8),
        tokenizer,
        max_positions=16,
        seed=0,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_was_saved_is_loaded(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Class, weights and generation settings are equal, in eval mode; no config changes, nothing is printed."""
    model = build(architecture, tokenizer)
    config = model.config.to_dict()
    save_network(model, tokenizer, tmp_path)
    loaded = load_network(str(tmp_path))

    assert type(loaded) is type(model)
    assert model.config.to_dict() == config
    assert not loaded.training
    assert loaded.generation_config.to_dict() == model.generation_config.to_dict()
    torch.testing.assert_close(dict(loaded.named_parameters()), dict(model.named_parameters()), rtol=0, atol=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_are_counted_without_weights(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The config alone gives the number of the loaded model, tied embeddings counted once."""
    save_network(build(architecture, tokenizer), tokenizer, tmp_path)
    expected = parameter_count(load_network(str(tmp_path)))
    (tmp_path / "model.safetensors").unlink()

    assert checkpoint_parameter_count(str(tmp_path)) == expected


def test_equal_models_give_equal_bytes(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Every file of two folders is the same, also of a model that was saved and loaded in between."""
    save_network(build("bart", tokenizer), tokenizer, tmp_path / "a")
    save_network(load_network(str(tmp_path / "a")), tokenizer, tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())

    assert "model.safetensors" in files
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_the_dtype_is_the_requested_one(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Weights saved in bfloat16 are loaded as float32 by default."""
    save_network(build("gpt2", tokenizer).to(torch.bfloat16), tokenizer, tmp_path)

    assert load_network(str(tmp_path)).dtype == torch.float32
    assert load_network(str(tmp_path), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    """The message has the folder and the files it should contain."""
    with pytest.raises(ModelError, match=rf"cannot load a model from '{tmp_path}'.*config\.json and model"):
        load_network(str(tmp_path))


def test_a_broken_file_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Here the weights are truncated."""
    save_network(build("gpt2", tokenizer), tokenizer, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot load a model"):
        load_network(str(tmp_path))


def test_pickled_weights_are_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Only safetensors are read, because unpickling runs code."""
    save_network(build("gpt2", tokenizer), tokenizer, tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load a model"):
        load_network(str(tmp_path))


def test_missing_weights_are_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """A layer that would stay random is named."""
    save_network(build("llama", tokenizer), tokenizer, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the model's weights \(model\.layers\.0\.mlp\.up_proj"):
        load_network(str(tmp_path))


@pytest.mark.parametrize(
    "network",
    [
        tf.BertForMaskedLM(tf.BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)),
        tf.ViTModel(tf.ViTConfig(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)),
    ],
    ids=["bert", "vit"],
)
def test_a_model_that_generates_no_text_is_refused(network: PreTrainedModel, tmp_path: Path) -> None:
    """Such as an encoder; the message lists families that work."""
    network.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="neither an encoder-decoder nor a decoder-only text generator; use one"):
        load_network(str(tmp_path))


def test_tied_weights_count_once(tokenizer: PreTrainedTokenizerBase) -> None:
    """Counted by hand for GPT-2: embeddings, positions, one block, the last norm; no second projection."""
    width, block = 8, (2 * 8 * 2) + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 8 + 8) * 2
    expected = len(tokenizer) * width + 16 * width + block + 2 * width

    assert parameter_count(build("gpt2", tokenizer)) == expected


def test_disk_bytes_count_all_files(tmp_path: Path) -> None:
    """Files in subfolders count too."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "sub" / "b").write_bytes(b"123")

    assert disk_bytes(tmp_path) == 8


def test_the_config_is_read_without_weights(tmp_path: Path) -> None:
    """A folder with a config and no weights is enough; one without is refused like any checkpoint."""
    tf.BartConfig().save_pretrained(tmp_path / "bart")
    tf.GPT2Config().save_pretrained(tmp_path / "gpt2")

    assert config_of(str(tmp_path / "bart")).is_encoder_decoder
    assert not config_of(str(tmp_path / "gpt2")).is_encoder_decoder
    with pytest.raises(ModelError, match=r"cannot load a model from .*nowhere"):
        config_of(str(tmp_path / "nowhere"))
