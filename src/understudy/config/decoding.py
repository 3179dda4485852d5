"""Decoding settings: how text is generated from a model, the same for all engines.

Packages below the pipeline take a decoding as a plain argument.
"""

from typing import Annotated, Literal

from pydantic import Field

from understudy.config.numbers import CountFromZero, Positive, Real, ShareAboveZero, TextsPerInput
from understudy.config.section import Section


class Greedy(Section):
    """Takes the most probable next token; one text per input."""

    kind: Literal["greedy"] = "greedy"


class Beam(Section):
    """Beam search; returns the best text, one per input."""

    kind: Literal["beam"] = "beam"
    beams: TextsPerInput = 4
    """Number of beams."""
    length_penalty: Real = 1.0
    """Exponent of the length by which a text's log-probability is divided to rank it."""


class KBeams(Section):
    """Beam search; returns the best texts, as many as are requested per input."""

    kind: Literal["k_beams"] = "k_beams"
    beams: TextsPerInput
    """Number of beams; at least the number of texts per input."""
    length_penalty: Real = 1.0
    """Exponent of the length by which a text's log-probability is divided to rank it."""


class Sampling(Section):
    """Sampling parameters of local models: samples from the model's distribution after top-k and top-p truncation.

    The defaults are those of the paper's code; its high-temperature sampling uses temperature 1.5.
    """

    kind: Literal["sampling"] = "sampling"
    temperature: Positive = 1.0
    """Divides the logits before the softmax."""
    top_k: CountFromZero = 50
    """Top-k truncation: only the k most probable tokens can be sampled; 0 disables it."""
    top_p: ShareAboveZero = 0.95
    """Top-p (nucleus) truncation: only the most probable tokens that together reach this probability; 1 disables it."""


class DiverseBeam(Section):
    """Diverse beam search with groups of one beam: a group avoids tokens that earlier groups chose. Engine hf only.

    Vijayakumar et al. 2016 (arXiv:1610.02424), algorithm 1 with one beam per group and Hamming diversity.
    """

    kind: Literal["diverse_beam"] = "diverse_beam"
    groups: TextsPerInput
    """Number of groups, each of which gives one text; at least the number of texts per input."""
    diversity: Positive = 1.0
    """Penalty in nats on a token for every earlier group that chose it at the same position."""


EngineName = str
ENGINE_NAMES = ("auto", "ctranslate2", "vllm", "hf")
"""The names of a recipe's `engine`; `generation.ENGINES` has the engines, which load torch."""
"""The library that generates text, a key of `generation.ENGINES`, or `auto`: the first of them that runs here, supports
the model and has every decoding of a recipe. `vllm` has no beams."""

Decoding = Annotated[Greedy | Beam | KBeams | Sampling, Field(discriminator="kind")]
"""The decodings of evaluation and student samples. Engine vllm has no beams, the others have all of these."""

PoolDecoding = Annotated[Greedy | Beam | KBeams | Sampling | DiverseBeam, Field(discriminator="kind")]
"""The decodings that can generate pseudo-targets."""
