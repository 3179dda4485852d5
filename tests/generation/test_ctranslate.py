import random
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest
import torch
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy, KBeams, Sampling
from understudy.generation import live_engine, open_engine
from understudy.generation.ctranslate import CTranslate2Engine
from understudy.models.scratch import build_network
from understudy.records import Generated

Network = Callable[[str], PreTrainedModel]
Checkpoint = Callable[[str], Path]
Sources = Callable[[PreTrainedModel], list[list[int]]]
FAMILIES = [
    "bart", "mbart", "m2m_100", "pegasus", "marian", "t5", "t5-1.1", "mt5", "gpt2", "opt", "llama", "llama-3",
    "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "gemma2", "gemma3_text",
]  # fmt: skip
SEARCHES: list[tuple[Decoding, int]] = [
    (Greedy(), 1),
    (Beam(beams=4), 1),
    (Beam(beams=3, length_penalty=0.0), 1),
    (Beam(beams=2, length_penalty=2.0), 1),
    (KBeams(beams=4), 3),
]


def generated(
    kind: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    workspace: Path,
    per_source: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> list[tuple[Generated, ...]]:
    """Texts of up to nine tokens from a new engine."""
    with live_engine(kind, model, tokenizer, workspace=workspace, threads=threads) as engine:
        return engine.generate(sources, decoding, per_source=per_source, max_tokens=9, seed=seed)


def assert_equal_texts(ours: list[tuple[Generated, ...]], theirs: list[tuple[Generated, ...]]) -> None:
    """The same tokens in the same order, and log-probabilities to single precision."""
    assert [[text.token_ids for text in texts] for texts in ours] == [
        [text.token_ids for text in texts] for texts in theirs
    ]
    ours_N, theirs_N = ([text.logprob for text in chain(*texts)] for texts in (ours, theirs))
    assert ours_N == pytest.approx(theirs_N, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_generates_what_transformers_generates(
    family: str, *, network: Network, checkpoint: Checkpoint, sources: Sources, tmp_path: Path
) -> None:
    """Every supported family gives the same texts and the same log-probabilities with both engines."""
    model, folder = network(family), checkpoint(family)
    with (
        open_engine("ctranslate2", folder, workspace=tmp_path, threads=1) as ours,
        open_engine("hf", folder, workspace=tmp_path, threads=1) as theirs,
    ):
        for decoding, per_source in SEARCHES:
            assert_equal_texts(
                *(
                    engine.generate(sources(model), decoding, per_source=per_source, max_tokens=9)
                    for engine in (ours, theirs)
                )
            )


def test_long_sources_are_awaited_first(
    network: Network, checkpoint: Checkpoint, sources: Sources, tmp_path: Path
) -> None:
    """They are computed first: awaited in another order, the first report would come at the end of a block."""
    rows = sources(network("bart"))
    with open_engine("ctranslate2", checkpoint("bart"), workspace=tmp_path, threads=1) as engine:
        assert isinstance(engine, CTranslate2Engine)
        started = engine._started(rows, Greedy(), engine.settings(Greedy(), 1, 3, ()), 0, len(rows))
        lengths = [len(rows[index]) for index, _ in started]

    assert len(set(lengths)) > 1
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(("decoding", "per_source"), SEARCHES, ids=str)
def test_texts_that_end_are_equal_too(
    decoding: Decoding,
    per_source: int,
    *,
    trained: PreTrainedModel,
    sources: Sources,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    """Ends and length penalties have the same meaning in both engines; some texts end, others reach the limit."""
    both = [
        generated(kind, trained, tokenizer, sources(trained), decoding, per_source=per_source, workspace=tmp_path)
        for kind in ("ctranslate2", "hf")
    ]

    assert_equal_texts(*both)
    ended = {text.token_ids[-1] == tokenizer.eos_token_id for text in chain(*both[0])}
    assert True in ended


def test_other_prompts_do_not_change_beams(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """The beams of a decoder-only model do not depend on prompts of other lengths in the same call."""
    model = build_network(
        small("llama", decoder_layers=2, feed_forward=32),
        tokenizer,
        max_positions=64,
        seed=0,
    )
    chance = random.Random(0)
    prompts = [[chance.randrange(4, len(tokenizer)) for _ in range(chance.randint(1, 20))] for _ in range(40)]
    with live_engine("ctranslate2", model, tokenizer, workspace=tmp_path, threads=1) as engine:
        together, *alone = (
            engine.generate(sources, KBeams(beams=4), per_source=3, max_tokens=7)
            for sources in [prompts, *([prompt] for prompt in prompts)]
        )

    assert_equal_texts(together, [row for (row,) in alone])


@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_equal_seeds_sample_equal_texts(
    family: str, *, network: Network, checkpoint: Checkpoint, sources: Sources, tmp_path: Path
) -> None:
    """Only the seed decides, not the threads nor earlier samples."""
    prompts, folder = sources(network(family)), checkpoint(family)

    def samples(*seeds: int | None, threads: int = 1) -> list[list[tuple[Generated, ...]]]:
        with open_engine("ctranslate2", folder, workspace=tmp_path, threads=threads) as engine:
            return [engine.generate(prompts, Sampling(), per_source=3, max_tokens=9, seed=seed) for seed in seeds]

    first, again, other = samples(5, 5, 6)

    assert [first] == [again] == samples(5, threads=2)
    assert first != other


def test_without_a_seed_samples_are_new_and_the_network_is_opened_once(
    network: Network, checkpoint: Checkpoint, sources: Sources, tmp_path: Path
) -> None:
    """Also in the second engine of a process, after a seed was set; samples with a seed stay what they are."""
    prompts = sources(network("bart"))
    with (
        open_engine("ctranslate2", checkpoint("bart"), workspace=tmp_path, threads=1) as one,
        open_engine("ctranslate2", checkpoint("bart"), workspace=tmp_path, threads=1) as two,
    ):
        seeds = (5, None, None, 5)
        found = [
            engine.generate(prompts, Sampling(), per_source=3, max_tokens=9, seed=seed)
            for engine in (one, two)
            for seed in seeds
        ]
        assert isinstance(two, CTranslate2Engine)
        assert len(two._open_runners) == 1

    assert found[0] == found[3] == found[4] == found[7]
    new = [str(found[i]) for i in (0, 1, 2, 5, 6)]
    assert len(set(new)) == len(new)


def test_a_top_k_above_the_vocabulary_size_does_not_truncate(
    trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """It equals a top_k of 0, which keeps all tokens."""
    large, none = (
        generated("ctranslate2", trained, tokenizer, sources(trained), Sampling(top_k=top_k), workspace=tmp_path)
        for top_k in (10_000, 0)
    )

    assert large == none


@pytest.mark.parametrize("family", ["bart", "llama"])
def test_a_live_model_does_not_change(
    family: str, *, network: Network, sources: Sources, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """Saving and converting its weights changes neither weights nor layers nor config."""
    model, untouched = network(family), network(family)
    generated("ctranslate2", model, tokenizer, sources(model), Greedy(), workspace=tmp_path)

    assert str(model) == str(untouched)
    assert model.config.to_dict() == untouched.config.to_dict()
    for name, weight in untouched.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)
