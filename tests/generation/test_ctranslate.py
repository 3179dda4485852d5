import random
from collections.abc import Callable, Sequence
from itertools import chain

import pytest
import torch
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy, KBeams, Sampling
from understudy.generation import open_engine
from understudy.models.scratch import build_network
from understudy.records import Generated

Network = Callable[[str], PreTrainedModel]
Sources = Callable[[PreTrainedModel], list[list[int]]]
FAMILIES = ["bart", "pegasus", "t5", "t5-1.1", "mt5", "gpt2", "opt", "llama", "mistral", "qwen2", "qwen3"]
SEARCHES: list[tuple[Decoding, int]] = [
    (Greedy(), 1),
    (Beam(beams=4), 1),
    (Beam(beams=3, length_penalty=0.0), 1),
    (Beam(beams=2, length_penalty=2.0), 1),
    (KBeams(beams=4), 3),
]


def drawn(
    kind: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    per_source: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> list[tuple[Generated, ...]]:
    """Texts of up to nine tokens from a new engine."""
    with open_engine(kind, model, tokenizer, threads=threads) as engine:  # type: ignore[arg-type]
        return engine.generate(sources, decoding, per_source=per_source, max_tokens=9, seed=seed)


def assert_equal_texts(ours: list[tuple[Generated, ...]], theirs: list[tuple[Generated, ...]]) -> None:
    """The same tokens in the same order, and log-probabilities to single precision."""
    assert [[text.token_ids for text in texts] for texts in ours] == [
        [text.token_ids for text in texts] for texts in theirs
    ]
    ours_N, theirs_N = ([text.logprob for text in chain(*texts)] for texts in (ours, theirs))
    assert ours_N == pytest.approx(theirs_N, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_writes_what_transformers_writes(
    family: str, *, network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Every supported family gives the same texts and the same log-probabilities through both engines."""
    model = network(family)
    with (
        open_engine("ctranslate2", model, tokenizer, threads=1) as ours,
        open_engine("hf", model, tokenizer, threads=1) as theirs,
    ):
        for decoding, per_source in SEARCHES:
            assert_equal_texts(
                *(
                    engine.generate(sources(model), decoding, per_source=per_source, max_tokens=9)
                    for engine in (ours, theirs)
                )
            )


@pytest.mark.parametrize(("decoding", "per_source"), SEARCHES, ids=str)
def test_texts_that_end_are_equal_too(
    decoding: Decoding,
    per_source: int,
    *,
    trained: PreTrainedModel,
    sources: Sources,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Ends and length penalties mean the same in both engines; some texts end and some are cut."""
    both = [
        drawn(kind, trained, tokenizer, sources(trained), decoding, per_source=per_source)
        for kind in ("ctranslate2", "hf")
    ]

    assert_equal_texts(*both)
    ended = {text.token_ids[-1] == tokenizer.eos_token_id for text in chain(*both[0])}
    assert True in ended


def test_neighbours_do_not_change_beams(tokenizer: PreTrainedTokenizerBase) -> None:
    """Prompts of other lengths in the same call leave the beams of a decoder-only network alone."""
    model = build_network(
        small("llama", decoder_layers=2, feed_forward=32),
        tokenizer,
        max_positions=64,
        seed=0,
    )
    chance = random.Random(0)
    prompts = [[chance.randrange(4, len(tokenizer)) for _ in range(chance.randint(1, 20))] for _ in range(40)]
    with open_engine("ctranslate2", model, tokenizer, threads=1) as engine:
        together, *alone = (
            engine.generate(sources, KBeams(beams=4), per_source=3, max_tokens=7)
            for sources in [prompts, *([prompt] for prompt in prompts)]
        )

    assert_equal_texts(together, [row for (row,) in alone])


@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_equal_seeds_draw_equal_texts(
    family: str, *, network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The seed decides: not the threads, nor what was drawn before."""
    model = network(family)
    decoding = Sampling()
    with open_engine("ctranslate2", model, tokenizer, threads=1) as engine:
        first, again = (engine.generate(sources(model), decoding, per_source=3, max_tokens=9, seed=5) for _ in range(2))
    threaded = drawn("ctranslate2", model, tokenizer, sources(model), decoding, per_source=3, seed=5, threads=2)
    other = drawn("ctranslate2", model, tokenizer, sources(model), decoding, per_source=3, seed=6)

    assert first == again == threaded
    assert first != other


def test_all_tokens_may_be_asked_for_by_a_large_top_k(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A top_k beyond the vocabulary is no cut at all."""
    large, none = (
        drawn("ctranslate2", trained, tokenizer, sources(trained), Sampling(top_k=top_k)) for top_k in (10_000, 0)
    )

    assert large == none


@pytest.mark.parametrize("family", ["bart", "llama"])
def test_the_network_survives_its_conversion(
    family: str, *, network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The converter's deletions and settings reach neither weights nor layers nor config."""
    model, untouched = network(family), network(family)
    drawn("ctranslate2", model, tokenizer, sources(model), Greedy())

    assert str(model) == str(untouched)
    assert model.config.to_dict() == untouched.config.to_dict()
    for name, weight in untouched.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)
