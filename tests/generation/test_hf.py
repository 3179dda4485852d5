from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Greedy, KBeams, Sampling
from understudy.generation.hf import HuggingFaceEngine

Network = Callable[[str], PreTrainedModel]
Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "t5"])
def test_padding_changes_nothing(
    family: str, *, network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase, logprob: LogProb
) -> None:
    """Short prompts in a batch with long ones give the same texts as alone, with the right log-probability."""
    model = network(family)
    engine = HuggingFaceEngine(model, tokenizer)
    for decoding in (Greedy(), Beam(beams=3)):
        together = engine.generate(sources(model), decoding, max_tokens=6)
        for source, (text,) in zip(sources(model), together, strict=True):
            ((alone,),) = engine.generate([source], decoding, max_tokens=6)
            assert text.token_ids == alone.token_ids
            assert text.logprob == pytest.approx(logprob(model, source, text.token_ids), abs=1e-4)


def test_equal_seeds_sample_equal_texts(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Only the seed decides, and torch's global generator does not change."""
    engine = HuggingFaceEngine(trained, tokenizer)

    def samples(seed: int) -> list[tuple[int, ...]]:
        rows = engine.generate(sources(trained), Sampling(), per_source=2, max_tokens=9, seed=seed)
        return [text.token_ids for row in rows for text in row]

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = samples(7)

    assert torch.equal(torch.rand(3), expected)
    assert samples(7) == first != samples(8)


def test_the_checkpoints_generation_settings_have_no_effect(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Forced tokens and penalties of a checkpoint do not change the text and are kept."""
    engine = HuggingFaceEngine(trained, tokenizer)
    decodings = (Greedy(), KBeams(beams=2), Sampling())
    expected = [engine.generate(sources(trained), decoding, max_tokens=6) for decoding in decodings]
    own, trained.generation_config = (
        trained.generation_config,
        GenerationConfig(forced_bos_token_id=7, min_length=6, repetition_penalty=5.0, do_sample=True, top_k=3),
    )
    try:
        generated = [engine.generate(sources(trained), decoding, max_tokens=6) for decoding in decodings]
        assert trained.generation_config.forced_bos_token_id == 7
    finally:
        trained.generation_config = own

    assert generated == expected


def test_dropout_is_off_during_generation(
    network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A model in training mode generates as in eval mode, and is in training mode afterwards."""
    model = network("bart")
    engine = HuggingFaceEngine(model, tokenizer)
    expected = engine.generate(sources(model), Greedy(), max_tokens=6)
    model.train()

    assert engine.generate(sources(model), Greedy(), max_tokens=6) == expected
    assert model.training
