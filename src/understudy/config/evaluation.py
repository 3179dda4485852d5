"""Evaluation settings: how predictions are generated, scored and timed."""

from understudy.config.decoding import Beam, Decoding, Greedy
from understudy.config.numbers import Inputs, Positive, Resamples, Rounds
from understudy.config.section import Section


class Evaluation(Section):
    """How systems are evaluated."""

    decoding: Decoding = Beam()
    """How predictions are generated."""
    dev_decoding: Decoding = Greedy()
    """How predictions are generated on dev during training, to select checkpoints."""
    dev_inputs: Inputs | None = None
    """Number of dev inputs used to select checkpoints; null: all."""
    resamples: Resamples = 1000
    """Bootstrap resamples of the confidence intervals."""
    latency_inputs: Inputs = 64
    """Number of inputs on which latency is measured."""
    batch_inputs: Inputs = 64
    """Inputs per batch when throughput is measured."""
    repeats: Rounds = 3
    """Times that the speed of each system is measured, alternating between systems; the median is reported."""
    price_per_hour: Positive | None = None
    """Price of an hour of this machine, in the currency of the endpoint's price; null: no costs of local systems."""
