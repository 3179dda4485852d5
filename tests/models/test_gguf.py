"""A GGUF file is read as the network and the tokenizer that were written to it."""

from pathlib import Path

import pytest
import torch
from tests.gguf_file import TEXTS, byte_tokenizer, small_qwen, write_gguf
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from understudy.errors import ModelError
from understudy.models.checkpoint import config_of, load_network
from understudy.models.checkpoint_checks import refuse_unusable_checkpoint
from understudy.models.gguf import save_gguf
from understudy.models.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def tokens() -> PreTrainedTokenizerFast:
    """Byte-level."""
    return byte_tokenizer(TEXTS)


@pytest.fixture(scope="module")
def model(tokens: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """What the files hold."""
    return small_qwen(tokens)


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0.0), ("F16", 1e-3), ("Q8_0", 0.01)])
def test_weights_are_those_of_the_file(
    kind: str, tolerance: float, *, model: Qwen2ForCausalLM, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Quantised ones become floats, within the precision of their type; the result is a usable checkpoint."""
    write_gguf(tmp_path / "tiny.gguf", model, tokens, quantised=kind)
    parameters = save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")
    loaded = load_network(str(tmp_path / "folder"))

    refuse_unusable_checkpoint(str(tmp_path / "folder"))
    assert config_of(str(tmp_path / "folder")).model_type == "qwen2"
    assert parameters == sum(weight.numel() for weight in model.parameters())
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=0, atol=tolerance)


def test_texts_have_the_tokens_of_the_file(
    model: Qwen2ForCausalLM, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Also texts that the tokenizer was not trained on; decoding gives them back."""
    write_gguf(tmp_path / "tiny.gguf", model, tokens)
    save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")
    loaded = load_tokenizer(str(tmp_path / "folder"))

    assert loaded.eos_token == tokens.eos_token
    for text in [*TEXTS, "naïve 🦅 9", "two  spaces"]:
        assert loaded(text)["input_ids"] == tokens(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"]) == text


def test_nothing_is_printed(
    model: Qwen2ForCausalLM, tokens: PreTrainedTokenizerFast, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only the command line shows progress."""
    write_gguf(tmp_path / "tiny.gguf", model, tokens)
    capfd.readouterr()
    save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")

    assert capfd.readouterr() == ("", "")


def test_a_file_without_all_weights_is_refused(
    model: Qwen2ForCausalLM, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """As one of several parts, whose network would be random in places."""
    write_gguf(tmp_path / "tiny.gguf", model, tokens, leave_out="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ModelError, match=r"tiny\.gguf' lacks 1 .*layers\.1\.mlp\.up_proj.*in one part"):
        save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")


@pytest.mark.parametrize("size", [19, 5_000, 50_000])
def test_a_damaged_file_is_refused(
    size: int, *, model: Qwen2ForCausalLM, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """As one that was not downloaded completely; the message says which file and what to give instead."""
    write_gguf(tmp_path / "tiny.gguf", model, tokens)
    (tmp_path / "tiny.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:size])
    with pytest.raises(ModelError, match=r"(?s)tiny\.gguf'.*Hugging Face layout"):
        save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")
