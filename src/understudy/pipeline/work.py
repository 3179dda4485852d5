"""The amount of work of training and generating, as the features whose factors `calibration` fits."""

from understudy.pipeline.network_size import NetworkSize

Features = tuple[float, ...]
"""Multiplications, activations, weights that are read, layer calls and calls."""


def training_work(
    size: NetworkSize, *, source_tokens: float, target_tokens: float, batches: float, passes: float = 3.0
) -> Features:
    """The work of optimizer steps; with `passes` 1 that of forward passes alone."""
    multiplied = 2 * passes * (size.source * source_tokens + size.target * target_tokens)
    activations = passes * (
        size.width * (size.source_layers * source_tokens + size.target_layers * target_tokens)
        + size.vocabulary * target_tokens
    )
    calls = passes * batches
    weights = calls * (size.source + size.target)
    return multiplied, activations, weights, calls * (size.source_layers + size.target_layers), calls


def generation_work(
    size: NetworkSize, *, source_tokens: float, target_tokens: float, beams: float = 1.0, calls: float = 1.0
) -> Features:
    """The work of generating texts; `calls` is the sum over the batches of the tokens of their longest text."""
    generated = target_tokens * beams
    multiplied = 2 * (size.source * source_tokens + size.target * generated)
    activations = size.width * (size.source_layers * source_tokens + size.target_layers * generated)
    activations += size.vocabulary * generated
    return multiplied, activations, calls * size.target, calls * size.target_layers, calls


def conversion_work(size: NetworkSize) -> Features:
    """The work of giving a network its form for an engine and opening it: parameters, layers and networks."""
    return size.parameters, size.source_layers + size.target_layers, 1.0
