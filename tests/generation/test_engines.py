"""What the protocol promises, tested with each engine."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy, KBeams, Sampling
from understudy.errors import GenerationError
from understudy.generation import ENGINES, Engine, live_engine
from understudy.progress import NO_VALUES

Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, Sequence[int], Sequence[int]], float]


@pytest.fixture(params=[name for name, entry in ENGINES.items() if "cpu" in entry.capabilities.devices])
def engine(
    request: pytest.FixtureRequest, trained: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> Iterator[Engine]:
    """Each engine with the trained model."""
    with live_engine(request.param, trained, tokenizer, workspace=tmp_path, threads=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("decoding", "per_source"),
    [
        (Greedy(), 1),
        (Beam(beams=3), 1),
        (KBeams(beams=4, length_penalty=0.5), 4),
        (Sampling(), 3),
        (Sampling(temperature=3.0, top_k=5, top_p=0.7), 3),
    ],
    ids=str,
)
def test_logprob_is_the_models_own(
    decoding: Decoding,
    per_source: int,
    *,
    engine: Engine,
    trained: PreTrainedModel,
    sources: Sources,
    logprob: LogProb,
) -> None:
    """The log-probability is that of the whole text at temperature 1, for every decoding."""
    texts = engine.generate(sources(trained), decoding, per_source=per_source, max_tokens=9)
    for source, row in zip(sources(trained), texts, strict=True):
        assert len(row) == per_source
        for text in row:
            assert text.logprob == pytest.approx(logprob(trained, source, text.token_ids), abs=1e-4)


def test_greedy_takes_the_most_probable_token(
    engine: Engine, trained: PreTrainedModel, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A loop that runs the whole model for each token, without cache or batch, gives the same texts."""
    expected = []
    for source in sources(trained):
        ids = [trained.config.decoder_start_token_id]
        while len(ids) < 10 and ids[-1] != tokenizer.eos_token_id:
            logits = trained(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids])).logits
            ids.append(int(logits[0, -1].argmax()))
        expected.append(tuple(ids[1:]))

    texts = engine.generate(sources(trained), Greedy(), max_tokens=9)

    assert [row[0].token_ids for row in texts] == expected


@pytest.mark.parametrize(
    "decoding",
    [
        Sampling(temperature=1.0, top_k=0, top_p=1.0),
        Sampling(temperature=2.0, top_k=0, top_p=0.5),
        Sampling(temperature=1.5, top_k=4, top_p=0.8),
    ],
    ids=str,
)
def test_samples_follow_the_truncated_distribution(
    decoding: Sampling, *, engine: Engine, trained: PreTrainedModel, sources: Sources
) -> None:
    """First tokens follow the model's distribution after temperature, then top_k, then top_p."""
    source = sources(trained)[0]
    start = torch.tensor([[trained.config.decoder_start_token_id]])
    with torch.no_grad():
        logits = trained(input_ids=torch.tensor([source]), decoder_input_ids=start).logits[0, -1]
    p, order = (logits / decoding.temperature).softmax(-1).sort(descending=True)
    p[decoding.top_k or len(p) :] = 0
    p /= p.sum()
    p[1:][p.cumsum(0)[:-1] >= decoding.top_p] = 0
    expected = dict(zip(order.tolist(), (p / p.sum()).tolist(), strict=True))

    draws = 4000
    (texts,) = engine.generate([source], decoding, per_source=draws, max_tokens=1)
    counts = Counter(text.token_ids[0] for text in texts)

    assert sum(abs(counts[token] / draws - share) for token, share in expected.items()) / 2 < 0.06
    assert all(expected[token] > 0 for token in counts)


def test_results_are_in_the_order_of_the_sources(engine: Engine, trained: PreTrainedModel, sources: Sources) -> None:
    """Batches are sorted inside; outside, reversed sources give reversed texts, and all are reported."""
    reported: list[float] = []
    forward = engine.generate(
        sources(trained),
        Greedy(),
        max_tokens=5,
        progress=lambda amount, note="", values=NO_VALUES: reported.append(amount),
    )
    backward = engine.generate(sources(trained)[::-1], Greedy(), max_tokens=5)

    assert [row[0].token_ids for row in backward[::-1]] == [row[0].token_ids for row in forward]
    assert sum(reported) == len(forward)


def test_no_sources_no_texts(engine: Engine) -> None:
    """The result is empty with every decoding."""
    assert engine.generate([], Greedy(), max_tokens=5) == []
    assert engine.generate([], Sampling(), max_tokens=5) == []


@pytest.mark.parametrize(
    ("decoding", "per_source", "message"),
    [
        (Greedy(), 2, "greedy gives one text per source, 2 .*use decoding k_beams or sampling"),
        (Beam(beams=4), 2, "beam gives one text per source, 2 "),
        (KBeams(beams=2), 3, "gives 2 texts per source, 3 .*; set decoding.beams to at least 3"),
        (Sampling(), 0, "0 texts per source .*at least 1"),
    ],
)
def test_more_texts_than_a_decoding_gives_are_refused(
    decoding: Decoding, per_source: int, message: str, *, engine: Engine
) -> None:
    """The message has the requested number, and the decoding or number that would work."""
    with pytest.raises(GenerationError, match=message):
        engine.generate([[5, 2]], decoding, per_source=per_source, max_tokens=5)
