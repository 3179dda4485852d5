from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import DiverseBeam, EngineName, Greedy, PoolDecoding
from understudy.errors import GenerationError
from understudy.generation import engine_for, open_engine
from understudy.generation.hf import HuggingFaceEngine

Network = Callable[[str], PreTrainedModel]
Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]
LONGEST = 8


def next_logprobs(model: PreTrainedModel, source: list[int], written: list[int]) -> torch.Tensor:
    """What the whole network says of the next token, without cache or batch."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            begun = torch.tensor([[model.config.decoder_start_token_id, *written]])
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=begun).logits
        else:
            logits = model(input_ids=torch.tensor([[*source, *written]])).logits
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
def test_each_group_shuns_those_before_it(
    groups: int, diversity: float, *, trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A loop over sources, steps and groups writes the same, with the network's own log-probabilities."""
    engine = HuggingFaceEngine(trained, tokenizer)
    decoding = DiverseBeam(groups=groups, diversity=diversity)
    written = engine.generate(sources(trained), decoding, per_source=groups, max_tokens=LONGEST)

    for source, texts in zip(sources(trained), written, strict=True):
        expected = naive(trained, source, groups=groups, diversity=diversity, end=tokenizer.eos_token_id)
        expected.sort(key=lambda pair: -pair[1] / len(pair[0]))
        assert [text.token_ids for text in texts] == [ids for ids, _ in expected]
        assert [text.logprob for text in texts] == pytest.approx([logprob for _, logprob in expected], abs=1e-4)


def test_padding_changes_nothing(network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase) -> None:
    """Prompts of a decoder-only network write among others what the loop writes for each alone."""
    model = network("gpt2")
    decoding = DiverseBeam(groups=3, diversity=0.7)
    written = HuggingFaceEngine(model, tokenizer).generate(sources(model), decoding, per_source=3, max_tokens=LONGEST)

    for source, texts in zip(sources(model), written, strict=True):
        expected = naive(model, source, groups=3, diversity=0.7, end=tokenizer.eos_token_id)
        assert {text.token_ids for text in texts} == {ids for ids, _ in expected}


def test_the_best_of_the_groups_are_given(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Fewer texts than groups are the most probable per token, best first."""
    engine = HuggingFaceEngine(trained, tokenizer)
    decoding = DiverseBeam(groups=4)
    whole, some = (
        engine.generate(sources(trained), decoding, per_source=count, max_tokens=LONGEST) for count in (4, 2)
    )

    for texts, kept in zip(whole, some, strict=True):
        worth = [text.logprob / len(text.token_ids) for text in texts]
        assert worth == sorted(worth, reverse=True)
        assert kept == texts[:2]


def test_one_group_is_greedy(trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase) -> None:
    """With nobody to shun the most probable token is taken, whatever the diversity."""
    engine = HuggingFaceEngine(trained, tokenizer)
    alone, greedy = (
        engine.generate(sources(trained), decoding, max_tokens=LONGEST)
        for decoding in (DiverseBeam(groups=1, diversity=9.0), Greedy())
    )

    assert [text.token_ids for (text,) in alone] == [text.token_ids for (text,) in greedy]


@pytest.mark.parametrize(
    ("kind", "decoding", "engine"),
    [
        ("auto", Greedy(), "auto"),
        ("ctranslate2", Greedy(), "ctranslate2"),
        ("auto", DiverseBeam(groups=2), "hf"),
        ("hf", DiverseBeam(groups=2), "hf"),
    ],
)
def test_auto_is_the_engine_that_has_the_decoding(kind: EngineName, decoding: PoolDecoding, engine: str) -> None:
    """Only diverse beams ask for another engine than the network would."""
    assert engine_for(kind, decoding) == engine


def test_ctranslate2_refuses_diverse_beams(trained: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Before it is opened and after; the message names the engine that would do."""
    message = "'ctranslate2' was asked for decoding diverse_beam, which it does not have; engine 'hf' has it"
    with pytest.raises(GenerationError, match=message):
        engine_for("ctranslate2", DiverseBeam(groups=2))
    with (
        open_engine("ctranslate2", trained, tokenizer, threads=1) as engine,
        pytest.raises(GenerationError, match=message),
    ):
        engine.generate([[5, 2]], DiverseBeam(groups=2), max_tokens=5)


def test_more_texts_than_groups_are_refused(trained: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """The message says how many groups it would take."""
    engine = HuggingFaceEngine(trained, tokenizer)
    with pytest.raises(GenerationError, match=r"gives 2 texts per source, 3 were asked for; set decoding\.groups to"):
        engine.generate([[5, 2]], DiverseBeam(groups=2), per_source=3, max_tokens=5)
