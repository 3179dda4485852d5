"""Engines of networks that are trained with an adapter: the live network, and weights saved for another engine."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy
from understudy.config.training import Lora
from understudy.generation import live_engine
from understudy.models.adapters import add_adapter


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_other_engines_read_merged_weights(
    family: str,
    network: Callable[[str], PreTrainedModel],
    sources: Callable[[PreTrainedModel], list[list[int]]],
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    """They generate the greedy text of the live network, which the adapter changes."""
    model = network(family)
    texts = []
    for engine in ("hf", "ctranslate2", "hf"):
        with live_engine(engine, model, tokenizer, workspace=tmp_path) as opened:
            generated = opened.generate(sources(model), Greedy(), per_source=1, max_tokens=8, seed=0)
        texts.append([[text.token_ids for text in row] for row in generated])
        if len(texts) == 1:
            add_adapter(model, Lora(rank=4), seed=0)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.normal_(std=0.3)

    assert texts[1] == texts[2]
    assert texts[1] != texts[0]
