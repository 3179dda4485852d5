"""Latency and throughput of a network with fewer layers, at several output lengths: encoder or decoder cost?

Measured in this process and with `generate` of transformers, so compare these numbers with each other, not with those
of `efficiency`.
Source: Calderon et al. 2023, Fig. 3.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

from transformers import PreTrainedModel

from understudy.errors import EvaluationError, ModelError
from understudy.evaluation.efficiency import REPEATS, Clock
from understudy.evaluation.greedy import greedy_continuations
from understudy.models.families import layer_counts
from understudy.models.prune import prune
from understudy.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True, slots=True)
class DepthCost:
    """Latency and throughput at one depth and one output length."""

    encoder_layers: int | None
    """None for a network without an encoder."""
    decoder_layers: int
    tokens: int
    """Length of every output."""
    latency_ms: float
    """Median over inputs, one at a time."""
    throughput_per_s: float
    """Outputs per second with all inputs in one batch, the median of three passes."""


def layers_of(network: PreTrainedModel) -> dict[str, int]:
    """The number of layers of the encoder, where there is one, and of the decoder.

    Raises:
        EvaluationError: for a model family whose layers cannot be found.
    """
    try:
        return layer_counts(network.config, network)
    except ModelError as error:
        raise EvaluationError(f"depths were requested, but {error}; or leave the depths out") from error


def reduced_depths(layers: Mapping[str, int]) -> list[dict[str, int]]:
    """The depths to compare: all layers, then half and one of the decoder's, then half and one of the encoder's."""
    depths = [dict(layers)]
    for part in ("decoder", "encoder"):
        if part in layers:
            depths += [{**layers, part: kept} for kept in (layers[part] // 2, 1) if kept]
    return [depth for index, depth in enumerate(depths) if depth not in depths[:index]]


def cost_by_depth(
    network: PreTrainedModel,
    *,
    depths: Iterable[Mapping[str, int]],
    lengths: Sequence[int],
    sources: Sequence[Sequence[int]],
    eos: int,
    pad: int,
    clock: Clock = perf_counter,
    progress: ProgressCallback = NO_PROGRESS,
) -> list[DepthCost]:
    """Latency and throughput of a network pruned to several depths, for outputs of exactly several lengths.

    The generated text is meaningless, because the pruned networks are not trained; the time does not depend on it.

    Args:
        network: of a family whose layers can be found; not changed.
        depths: layers to keep, in the form of `layers_of`.
        lengths: output lengths in tokens; the network must have as many positions.
        sources: a few real inputs as token ids.
        eos: the end-of-sequence id, forbidden before the length is reached.
        pad: fills up sources; masked.
        clock: returns the time in seconds.
        progress: called with 1 after every depth and length.

    Raises:
        EvaluationError: if there are no sources or no lengths, or a length is below 1.
        ModelError: for layers that the network does not have.
    """
    if not sources or min(lengths, default=0) < 1:
        raise EvaluationError(
            f"a measurement needs at least one source and lengths of at least 1 token, got {len(sources)} sources and "
            f"the lengths {list(lengths)}; give at least one of each"
        )
    costs = []
    for depth in depths:
        pruned = prune(network, encoder_layers=depth.get("encoder"), decoder_layers=depth["decoder"])
        for tokens in lengths:
            seconds = partial(_seconds, pruned, tokens=tokens, eos=eos, pad=pad, clock=clock)
            seconds(sources[:1])  # warm-up: the first call with a shape allocates memory
            latency = median(seconds([source]) for source in sources)
            batch = median(seconds(sources) for _ in range(REPEATS))
            costs.append(
                DepthCost(depth.get("encoder"), depth["decoder"], tokens, 1000 * latency, len(sources) / batch)
            )
            progress(1)
    return costs


def _seconds(
    network: PreTrainedModel, sources: Sequence[Sequence[int]], *, tokens: int, eos: int, pad: int, clock: Clock
) -> float:
    start = clock()
    no_prefix: list[tuple[int, ...]] = [()] * len(sources)
    greedy_continuations(network, sources, no_prefix, eos=eos, pad=pad, min_tokens=tokens, max_tokens=tokens)
    return clock() - start
