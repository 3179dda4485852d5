from itertools import pairwise

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from understudy.errors import ConfigError, ModelError
from understudy.models.scratch import ARCHITECTURES, build_network


def build(architecture: str, tokenizer: PreTrainedTokenizerBase, **changes: object) -> PreTrainedModel:
    """A small network; the changes replace its sizes."""
    settings = {
        "width": 16,
        "encoder_layers": 2 if ARCHITECTURES.get(architecture, (None, True))[1] else None,
        "decoder_layers": 1,
        "heads": 2,
        "feed_forward": 24,
        "dropout": 0.0,
        "max_positions": 32,
        "seed": 0,
        **changes,
    }
    return build_network(architecture, tokenizer, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_weights(architecture: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Equal seeds, equal networks; and torch's own generator has not moved."""
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    weights = [
        torch.cat([weight.flatten() for weight in build(architecture, tokenizer, seed=seed).parameters()])
        for seed in (3, 3, 4)
    ]

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_are_those_asked_for(architecture: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Layers, width, vocabulary and the tie between input and output embeddings."""
    model = build(architecture, tokenizer, decoder_layers=3)
    embeddings = model.get_input_embeddings().weight

    assert embeddings.shape == (len(tokenizer), 16)
    assert model.get_output_embeddings().weight is embeddings
    assert model.get_decoder().config.hidden_size == 16
    names = {name.split(".layers.")[-1].split(".block.")[-1].split(".h.")[-1] for name, _ in model.named_parameters()}
    assert {name[0] for name in names if name[0].isdigit()} == {"0", "1", "2"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_settings_are_bare(architecture: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Special ids and nothing else, so that no engine forces a token or cuts a text."""
    model = build(architecture, tokenizer)
    expected = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if model.config.is_encoder_decoder:
        expected["decoder_start_token_id"] = 1

    found = model.generation_config.to_diff_dict()
    del found["transformers_version"]
    assert found == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_reaches_the_network(architecture: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """With dropout two passes differ, without they do not."""
    ids = torch.arange(4, 10)[None]
    for dropout in (0.0, 0.5):
        model = build(architecture, tokenizer, dropout=dropout).train()
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        passes = [model(input_ids=ids, **more).logits for _ in range(3)]
        assert all(torch.equal(a, b) for a, b in pairwise(passes)) == (dropout == 0.0)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("bart", {"heads": 3}, "width 16 and 3 heads.*multiple of 3"),
        ("bart", {"encoder_layers": None}, "'bart', an encoder-decoder, with None encoder layers"),
        ("t5", {"encoder_layers": 0}, "'t5', an encoder-decoder, with 0 encoder layers"),
        ("gpt2", {"encoder_layers": 2}, "'gpt2' with 2 encoder layers, but it is decoder-only"),
        ("llama", {"decoder_layers": 0}, "0 decoder layers; it needs at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    architecture: str, changes: dict[str, object], message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The message says what was asked and what would do."""
    with pytest.raises(ModelError, match=message):
        build(architecture, tokenizer, **changes)


def test_an_unknown_architecture_is_answered_with_the_known(tokenizer: PreTrainedTokenizerBase) -> None:
    """The names that would do stand in the message."""
    with pytest.raises(ConfigError, match="unknown architecture 'bert'; known: bart, gpt2, llama, t5"):
        build("bert", tokenizer)


def test_a_tokenizer_without_special_tokens_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """The message names the missing ones."""
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")  # noqa: S106
    with pytest.raises(ModelError, match="but bos_token_id, pad_token_id is not set"):
        build("bart", bare)
