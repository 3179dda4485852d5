"""How text is drawn from a model: one vocabulary for all engines.

A decoding is a value: rooms below the pipeline take it as an argument, as they would take a number.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from understudy.config.section import Section


class Greedy(Section):
    """The most probable next token, one text per input."""

    kind: Literal["greedy"] = "greedy"


class Beam(Section):
    """Beam search; the best of the beams, one text per input."""

    kind: Literal["beam"] = "beam"
    beams: PositiveInt = 4
    length_penalty: float = 1.0
    """The score of a text is its log-probability divided by its length to this power."""


class KBeams(Section):
    """Beam search; the best texts of the beams, as many as are asked for per input."""

    kind: Literal["k_beams"] = "k_beams"
    beams: PositiveInt
    """At least as many as texts are asked for per input."""
    length_penalty: float = 1.0


class Sampling(Section):
    """Draws from the model's distribution, cut to its head.

    The defaults are what the paper's code means by sampling; its hot sampling is temperature 1.5.
    """

    kind: Literal["sampling"] = "sampling"
    temperature: PositiveFloat = 1.0
    top_k: NonNegativeInt = 50
    """Only the k most probable tokens can be drawn; 0: all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Only the most probable tokens that together hold this probability can be drawn; 1: all."""


class DiverseBeam(Section):
    """Beam search in groups of one beam, each of which shuns the tokens of those before it; engine hf alone has it.

    Vijayakumar et al. 2016 (arXiv:1610.02424), algorithm 1 with one beam per group and Hamming diversity.
    """

    kind: Literal["diverse_beam"] = "diverse_beam"
    groups: PositiveInt
    """At least as many as texts are asked for per input; each gives one text."""
    diversity: PositiveFloat = 1.0
    """Nats a token loses, at one position, for every earlier group that chose it there."""


EngineName = Literal["auto", "hf", "ctranslate2"]
"""What writes text: auto is ctranslate2 where it supports the architecture, else hf."""

Decoding = Annotated[Greedy | Beam | KBeams | Sampling, Field(discriminator="kind")]
"""What every engine can do."""

PoolDecoding = Annotated[Greedy | Beam | KBeams | Sampling | DiverseBeam, Field(discriminator="kind")]
"""What a teacher can be asked to write its texts by."""
