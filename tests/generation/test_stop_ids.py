"""Tokens that end a text beside its end-of-sequence token, in every engine."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy, Sampling
from understudy.generation import open_engine
from understudy.models.checkpoint import save_network

Network = Callable[[str], PreTrainedModel]
Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]


@pytest.mark.parametrize("engine_name", ["hf", "ctranslate2"])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_text_ends_after_a_stop_token(
    engine_name: str,
    family: str,
    *,
    network: Network,
    sources: Sources,
    tokenizer: PreTrainedTokenizerBase,
    logprob: LogProb,
    tmp_path: Path,
) -> None:
    """It is the text without stop tokens up to the first of them, which stays, then an end; log-probabilities too."""
    model, end = network(family), tokenizer.eos_token_id
    save_network(model, tokenizer, tmp_path / "checkpoint")
    with open_engine(engine_name, tmp_path / "checkpoint", workspace=tmp_path) as engine:
        whole = [texts[0] for texts in engine.generate(sources(model), Greedy(), max_tokens=9)]
        stop = max(text.token_ids[3] for text in whole if len(text.token_ids) > 4)
        stopped = [texts[0] for texts in engine.generate(sources(model), Greedy(), max_tokens=9, stop_ids={stop})]
        sampled = engine.generate(sources(model), Sampling(), per_source=3, max_tokens=9, seed=3, stop_ids={stop})

    for source, before, after in zip(sources(model), whole, stopped, strict=True):
        if stop not in before.token_ids:
            assert after == before
            continue
        body = before.token_ids[: before.token_ids.index(stop) + 1]
        assert after.token_ids == (*body, end)
        assert after.logprob == pytest.approx(logprob(model, source, body), abs=1e-3)
    assert any(stop in text.token_ids for text in whole)
    for text in (text for texts in sampled for text in texts):
        assert stop not in text.token_ids[:-2]
