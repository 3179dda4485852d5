from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from understudy.config.model_sections import Architecture
from understudy.errors import ModelError
from understudy.models.checkpoint import max_positions
from understudy.models.scratch import ARCHITECTURES, build_network


def build(
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerBase,
    *,
    decoder_layers: int = 1,
    dropout: float = 0.0,
    seed: int = 0,
) -> PreTrainedModel:
    """A small model."""
    scratch = small(
        architecture,
        encoder_layers=2 if architecture in {"bart", "t5"} else 0,
        decoder_layers=decoder_layers,
        feed_forward=24,
        dropout=dropout,
    )
    return build_network(scratch, tokenizer, max_positions=32, seed=seed)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_weights(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> None:
    """Equal seeds give equal models; torch's global generator does not change."""
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
def test_sizes_are_the_requested_ones(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> None:
    """Layers, width, vocabulary and the tie between input and output embeddings."""
    model = build(architecture, tokenizer, decoder_layers=3)
    embeddings = model.get_input_embeddings().weight

    assert embeddings.shape == (len(tokenizer), 16)
    assert model.get_output_embeddings().weight is embeddings
    assert model.get_decoder().config.hidden_size == 16
    names = {name.split(".layers.")[-1].split(".block.")[-1].split(".h.")[-1] for name, _ in model.named_parameters()}
    assert {name[0] for name in names if name[0].isdigit()} == {"0", "1", "2"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_settings_are_bare(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> None:
    """Only special ids, so that no engine forces a token or limits a text."""
    model = build(architecture, tokenizer)
    expected = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if model.config.is_encoder_decoder:
        expected["decoder_start_token_id"] = 1

    found = model.generation_config.to_diff_dict()
    del found["transformers_version"]
    assert found == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_is_set_in_the_model(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> None:
    """With dropout two passes differ, without they do not."""
    ids = torch.arange(4, 10)[None]
    for dropout in (0.0, 0.5):
        model = build(architecture, tokenizer, dropout=dropout).train()
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        passes = [model(input_ids=ids, **more).logits for _ in range(3)]
        assert all(torch.equal(a, b) for a, b in pairwise(passes)) == (dropout == 0.0)


def test_a_tokenizer_without_special_tokens_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """The message names the missing ones."""
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")  # noqa: S106
    with pytest.raises(ModelError, match="but bos_token_id, pad_token_id is not set"):
        build("bart", bare)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_models_with_absolute_positions_have_a_limit(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase
) -> None:
    """One token more than there are positions fails; without a limit it works."""
    scratch = small(architecture)
    network = build_network(scratch, tokenizer, max_positions=8, seed=0)
    ids = torch.full((1, 9), 5)
    inputs = {"input_ids": ids[:, :1], "decoder_input_ids": ids} if scratch.has_encoder else {"input_ids": ids}

    assert max_positions(network.config) == {"bart": 8, "gpt2": 8}.get(architecture)
    with pytest.raises(IndexError) if max_positions(network.config) else nullcontext():
        network(**inputs)
