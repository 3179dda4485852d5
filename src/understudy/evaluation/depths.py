"""What a network costs with fewer layers, at several lengths of its output: does encoder or decoder take the time?

In this process and with `generate` of transformers, so the numbers are to be compared with each other, not with
those of `efficiency`.
Source: Calderon et al. 2023, Fig. 3.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

from transformers import PreTrainedModel

from understudy.errors import EvaluationError, ModelError
from understudy.evaluation.greedy import write_on
from understudy.models.families import layer_counts
from understudy.models.prune import prune
from understudy.progress import NO_PROGRESS, ProgressCallback

REPEATS = 3

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class DepthCost:
    """One depth at one length."""

    encoder_layers: int | None
    """None: the network has no encoder."""
    decoder_layers: int
    tokens: int
    """Of every output."""
    latency_ms: float
    """Median over inputs, one at a time."""
    throughput_per_s: float
    """Outputs per second with all inputs in one batch, the median of three passes."""


def layers_of(network: PreTrainedModel) -> dict[str, int]:
    """How many layers the encoder (where there is one) and the decoder have.

    Raises:
        EvaluationError: for a family whose layers are not known by name.
    """
    try:
        return layer_counts(network.config, network)
    except ModelError as error:
        raise EvaluationError(f"depths were requested, but {error}; or leave the depths out") from error


def thinner(layers: Mapping[str, int]) -> list[dict[str, int]]:
    """The depths worth comparing: all layers, then half and one of the decoder's, then of the encoder's."""
    depths = [dict(layers)]
    for part in ("decoder", "encoder"):
        if part in layers:
            depths += [{**layers, part: kept} for kept in (layers[part] // 2, 1) if kept]
    return [depth for place, depth in enumerate(depths) if depth not in depths[:place]]


def cost_by_depth(
    network: PreTrainedModel,
    *,
    depths: Iterable[Mapping[str, int]],
    lengths: Sequence[int],
    sources: Sequence[Sequence[int]],
    end: int,
    pad: int,
    clock: Clock = perf_counter,
    advance: ProgressCallback = NO_PROGRESS,
) -> list[DepthCost]:
    """Latency and throughput of a network pruned to several depths, for outputs of exactly several lengths.

    What is written means nothing, for nothing was trained after pruning; the time it takes does not depend on it.

    Args:
        network: of a family in `models.families.FAMILIES`; left as it was.
        depths: layers to keep, as `layers_of` names them.
        lengths: tokens of every output; the network must have so many positions.
        sources: a few real inputs as token ids.
        end: the end-of-sequence id, forbidden before the length is reached.
        pad: fills up sources; masked.
        clock: tells seconds.
        advance: told of every depth at every length.

    Raises:
        EvaluationError: if there are no sources or no lengths, or a length is below 1.
        ModelError: for layers the network does not have.
    """
    if not sources or min(lengths, default=0) < 1:
        raise EvaluationError(
            f"a measurement needs at least one source and lengths of at least 1 token, got {len(sources)} sources and "
            f"the lengths {list(lengths)}; give some"
        )
    costs = []
    for depth in depths:
        pruned = prune(network, encoder_layers=depth.get("encoder"), decoder_layers=depth["decoder"])
        for tokens in lengths:
            write = partial(_seconds, pruned, tokens=tokens, end=end, pad=pad, clock=clock)
            write(sources[:1])  # the first call of a shape pays for memory
            latency = median(write([source]) for source in sources)
            together = median(write(sources) for _ in range(REPEATS))
            costs.append(
                DepthCost(depth.get("encoder"), depth["decoder"], tokens, 1000 * latency, len(sources) / together)
            )
            advance(1)
    return costs


def _seconds(
    network: PreTrainedModel, sources: Sequence[Sequence[int]], *, tokens: int, end: int, pad: int, clock: Clock
) -> float:
    start = clock()
    write_on(network, sources, [()] * len(sources), end=end, pad=pad, at_least=tokens, at_most=tokens)
    return clock() - start
