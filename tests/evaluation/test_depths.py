from itertools import count

import pytest
from tests.sizes import small
from transformers import GPTNeoConfig, GPTNeoForCausalLM, PreTrainedModel

from understudy.config.model_sections import Architecture
from understudy.errors import EvaluationError
from understudy.evaluation.depths import cost_by_depth, layers_of, reduced_depths
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.progress import NO_VALUES

TOKENIZER = train_tokenizer(["snow in the north", "rain in the south"], vocab_size=150)
END, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id
SOURCES = [[5, 6, 7], [8]]


def network(architecture: Architecture, encoder_layers: int) -> PreTrainedModel:
    """Three decoder layers."""
    return build_network(
        small(architecture, width=8, encoder_layers=encoder_layers, decoder_layers=3, feed_forward=8),
        TOKENIZER,
        max_positions=32,
        seed=0,
    )


def test_every_depth_is_measured_at_every_length() -> None:
    """A clock that ticks once per look makes every call last a second."""
    model, ticks, calls = network("bart", 2), count(), []
    costs = cost_by_depth(
        model,
        depths=[{"encoder": 2, "decoder": 3}, {"encoder": 2, "decoder": 1}],
        lengths=[1, 4],
        sources=SOURCES,
        eos=END,
        pad=PAD,
        clock=lambda: float(next(ticks)),
        progress=lambda amount, note="", values=NO_VALUES: calls.append((amount, note)),
    )

    shapes = [(cost.encoder_layers, cost.decoder_layers, cost.tokens) for cost in costs]
    assert shapes == [(2, 3, 1), (2, 3, 4), (2, 1, 1), (2, 1, 4)]
    assert {(cost.latency_ms, cost.throughput_per_s) for cost in costs} == {(1000.0, 2.0)}
    assert len(calls) == 4
    assert layers_of(model) == {"encoder": 2, "decoder": 3}


def test_a_network_without_an_encoder_is_measured_too() -> None:
    """Its depths are those of its decoder."""
    model = network("gpt2", 0)
    costs = cost_by_depth(
        model, depths=reduced_depths(layers_of(model))[1:], lengths=[2], sources=SOURCES, eos=END, pad=PAD
    )

    assert [(cost.encoder_layers, cost.decoder_layers) for cost in costs] == [(None, 1)]


@pytest.mark.parametrize(
    ("layers", "depths"),
    [
        ({"encoder": 6, "decoder": 6}, [(6, 6), (6, 3), (6, 1), (3, 6), (1, 6)]),
        ({"encoder": 2, "decoder": 1}, [(2, 1), (1, 1)]),
    ],
)
def test_depths_are_all_half_and_one(layers: dict[str, int], depths: list[tuple[int, int]]) -> None:
    """The decoder's first; none twice."""
    assert [(depth["encoder"], depth["decoder"]) for depth in reduced_depths(layers)] == depths


def test_an_unknown_family_is_refused() -> None:
    """The message names those whose layers are known."""
    config = GPTNeoConfig(
        vocab_size=8, hidden_size=8, num_layers=1, attention_types=[[["global"], 1]], num_heads=2, intermediate_size=8
    )

    with pytest.raises(EvaluationError, match=r"'gpt_neo' model were not found.*bart, mbart.*leave the depths out"):
        layers_of(GPTNeoForCausalLM(config))


def test_nothing_to_measure_is_refused() -> None:
    """No sources, and a length of no tokens."""
    model = network("bart", 1)

    with pytest.raises(EvaluationError, match=r"got 0 sources and the lengths \[3\]"):
        cost_by_depth(model, depths=[], lengths=[3], sources=[], eos=END, pad=PAD)
    with pytest.raises(EvaluationError, match=r"got 2 sources and the lengths \[0\]"):
        cost_by_depth(model, depths=[], lengths=[0], sources=SOURCES, eos=END, pad=PAD)
