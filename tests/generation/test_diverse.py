from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import DiverseBeam, Greedy
from understudy.errors import GenerationError
from understudy.generation.hf import HuggingFaceEngine

Network = Callable[[str], PreTrainedModel]
Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]
LONGEST = 8


def next_logprobs(model: PreTrainedModel, source: list[int], prefix: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token by the whole model, without cache or batch."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            decoder_ids = torch.tensor([[model.config.decoder_start_token_id, *prefix]])
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=decoder_ids).logits
        else:
            logits = model(input_ids=torch.tensor([[*source, *prefix]])).logits
    last: torch.Tensor = logits[0, -1].log_softmax(-1)
    return last


def naive(
    model: PreTrainedModel, source: list[int], *, groups: int, diversity: float, end: int
) -> list[tuple[tuple[int, ...], float]]:
    """Diverse beams of one source by the book: texts with their log-probabilities, group by group."""
    texts: list[list[int]] = [[] for _ in range(groups)]
    logprobs = [0.0] * groups
    for _ in range(LONGEST):
        chosen: Counter[int] = Counter()
        for group, text in enumerate(texts):
            if end in text:
                continue
            own = next_logprobs(model, source, text)
            scores = own.clone()
            for token, times in chosen.items():
                scores[token] -= diversity * times
            token = int(scores.argmax())
            logprobs[group] += float(own[token])
            text.append(token)
            chosen[token] += 1
    return [(tuple(text), logprob) for text, logprob in zip(texts, logprobs, strict=True)]


@pytest.mark.parametrize(("groups", "diversity"), [(1, 1.0), (3, 0.5), (4, 3.0), (5, 100.0)])
def test_each_group_avoids_the_tokens_of_earlier_groups(
    groups: int, diversity: float, *, trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A loop over sources, steps and groups gives the same texts and log-probabilities."""
    engine = HuggingFaceEngine(trained, tokenizer)
    decoding = DiverseBeam(groups=groups, diversity=diversity)
    generated = engine.generate(sources(trained), decoding, per_source=groups, max_tokens=LONGEST)

    for source, texts in zip(sources(trained), generated, strict=True):
        expected = naive(trained, source, groups=groups, diversity=diversity, end=tokenizer.eos_token_id)
        expected.sort(key=lambda pair: -pair[1] / len(pair[0]))
        assert [text.token_ids for text in texts] == [ids for ids, _ in expected]
        assert [text.logprob for text in texts] == pytest.approx([logprob for _, logprob in expected], abs=1e-4)


def test_padding_changes_nothing(network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase) -> None:
    """Prompts of a decoder-only model give in a batch what the loop gives for each alone."""
    model = network("gpt2")
    decoding = DiverseBeam(groups=3, diversity=0.7)
    generated = HuggingFaceEngine(model, tokenizer).generate(sources(model), decoding, per_source=3, max_tokens=LONGEST)

    for source, texts in zip(sources(model), generated, strict=True):
        expected = naive(model, source, groups=3, diversity=0.7, end=tokenizer.eos_token_id)
        assert {text.token_ids for text in texts} == {ids for ids, _ in expected}


def test_the_best_of_the_groups_are_given(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """If fewer texts than groups are requested, they are the most probable per token, best first."""
    engine = HuggingFaceEngine(trained, tokenizer)
    decoding = DiverseBeam(groups=4)
    whole, some = (
        engine.generate(sources(trained), decoding, per_source=count, max_tokens=LONGEST) for count in (4, 2)
    )

    for texts, kept in zip(whole, some, strict=True):
        scores = [text.logprob / len(text.token_ids) for text in texts]
        assert scores == sorted(scores, reverse=True)
        assert kept == texts[:2]


def test_one_group_is_greedy(trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase) -> None:
    """Without earlier groups the most probable token is chosen, whatever the diversity."""
    engine = HuggingFaceEngine(trained, tokenizer)
    alone, greedy = (
        engine.generate(sources(trained), decoding, max_tokens=LONGEST)
        for decoding in (DiverseBeam(groups=1, diversity=9.0), Greedy())
    )

    assert [text.token_ids for (text,) in alone] == [text.token_ids for (text,) in greedy]


def test_more_texts_than_groups_are_refused(trained: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """The message gives the number of groups that is needed."""
    engine = HuggingFaceEngine(trained, tokenizer)
    with pytest.raises(GenerationError, match=r"gives 2 texts per source, 3 .*; set decoding\.groups to"):
        engine.generate([[5, 2]], DiverseBeam(groups=2), per_source=3, max_tokens=5)
