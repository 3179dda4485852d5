"""Which layers a network misses least: greedy removal by the loss on some texts, without training.

In each step every layer that may be removed is left out in turn, and the one without which the loss is lowest is
removed. Encoder and decoder are one list of candidates, of which each has its own number of layers to keep. Networks
are made by `prune.shared_layers`, so that a loss is that of `prune` with the same layers; layers before a candidate
compute what they compute without it, and so run once per step.
Source: Men et al. 2024 (arXiv:2403.03853) compare scores of single layers; greedy removal by loss measures again after
each step.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf, isnan

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.models.families import layer_counts, stacks_of
from understudy.models.forward import target_logits
from understudy.models.prune import shared_layers, spread
from understudy.progress import NO_PROGRESS, ProgressCallback

Layer = tuple[str, int]
"""`encoder` or `decoder`, and an index in the whole network."""
LayerOutput = Tensor | tuple[Tensor, ...]
Kept = dict[str, list[int]]
"""`encoder`, `decoder` -> indices in the whole network of the layers that are left."""
TextBatch = Mapping[str, Tensor]
"""The arguments of `forward.target_logits` but the model."""


@dataclass(frozen=True)
class Removal:
    """One step: the layer that was removed, and the mean loss without it and those before, in nats per token."""

    part: str
    layer: int
    loss: float


@dataclass(frozen=True)
class LayerOrder:
    """The layers in the order in which they were removed."""

    loss: float
    """Of the whole network."""
    removed: tuple[Removal, ...]
    kept: dict[str, tuple[int, ...]]
    """`encoder`, `decoder` -> the layers that are left, of each part that was to lose some."""


def forward_passes(layers: Mapping[str, int], keep: Mapping[str, int]) -> tuple[int, int]:
    """The forward passes of `layer_order` per batch, and the layers that run in all of them together.

    With two parts to prune they depend on which layers are removed; the part with more layers is taken to lose them.

    Args:
        layers: `encoder`, `decoder` -> its number of layers.
        keep: as in `layer_order`.
    """
    left, passes, runs = dict(layers), 0, 0
    while pruned := [part for part, count in left.items() if count > keep.get(part, count)]:
        passes, runs = passes + 1, runs + sum(left.values())
        for part in pruned:
            after = left["decoder"] if part == "encoder" else 0
            passes, runs = passes + left[part], runs + sum(range(left[part])) + left[part] * after
        left[max(pruned, key=left.__getitem__)] -= 1
    return passes, runs


def layer_order(
    model: PreTrainedModel,
    batches: Sequence[TextBatch],
    *,
    keep: Mapping[str, int],
    progress: ProgressCallback = NO_PROGRESS,
) -> LayerOrder:
    """Removes layers until the requested numbers are left, each time the one whose removal raises the loss least.

    Args:
        model: of a family whose layers can be found, in evaluation mode; it does not change.
        batches: texts with at least one target token.
        keep: `encoder`, `decoder` -> how many layers to keep; a part that is left out keeps all.
        progress: called with 1 for every layer that is removed, in parts.

    Raises:
        ModelError: if the layout of the family is unknown, or there are fewer layers than requested.
    """
    layers = layer_counts(model.config, model)
    for part, number in keep.items():
        spread(layers.get(part, 0), number, of=f"{part} layers")
    kept: Kept = {part: list(range(count)) for part, count in layers.items()}
    removed: list[Removal] = []
    start = inf
    while candidates := [
        (part, layer) for part, own in kept.items() if len(own) > keep.get(part, inf) for layer in own
    ]:
        now, losses = _losses(model, kept, candidates, batches, progress)
        start = start if removed else now
        (part, layer), loss = min(losses.items(), key=lambda found: found[1])
        kept[part].remove(layer)
        removed.append(Removal(part, layer, loss))
        progress(0, f"loss {loss:.3f} without {part} layer {layer}")
    return LayerOrder(start, tuple(removed), {part: tuple(kept[part]) for part in keep})


def _losses(
    model: PreTrainedModel,
    kept: Kept,
    candidates: Sequence[Layer],
    batches: Sequence[TextBatch],
    progress: ProgressCallback,
) -> tuple[float, dict[Layer, float]]:
    """The loss of the model with the kept layers, and of it without each candidate."""
    base = shared_layers(model, kept)
    without = {
        (part, layer): shared_layers(model, {**kept, part: [one for one in kept[part] if one != layer]})
        for part, layer in candidates
    }
    now, tokens, sums = 0.0, 0, dict.fromkeys(candidates, 0.0)
    with torch.inference_mode():
        for batch in batches:
            tokens += int(batch["target_mask_BT"].sum())
            with _recorded(base) as outputs:
                now += _nats(base, batch)
            for (part, layer), network in without.items():
                with _replayed(network, outputs, part, kept[part].index(layer)):
                    sums[part, layer] += _nats(network, batch)
                progress(1 / (len(batches) * len(candidates)))
    losses = {candidate: inf if isnan(nats) else nats / tokens for candidate, nats in sums.items()}
    return now / tokens, losses


def _nats(model: PreTrainedModel, batch: TextBatch) -> float:
    logits_NV = target_logits(model, **batch)
    labels_N = batch["target_ids_BT"][batch["target_mask_BT"]]
    return float(F.cross_entropy(logits_NV.float(), labels_N, reduction="none").double().sum())


@contextmanager
def _recorded(model: PreTrainedModel) -> Iterator[dict[str, list[LayerOutput]]]:
    """Within the context, the outputs of all layers of a forward pass are appended, part by part."""
    outputs: dict[str, list[LayerOutput]] = {part: [] for part in stacks_of(model.config, model)}
    with ExitStack() as hooks:
        for part, recorded in outputs.items():
            for layer in _layers(model, part):
                handle = layer.register_forward_hook(lambda _module, _inputs, output, own=recorded: own.append(output))
                hooks.callback(handle.remove)
        yield outputs


@contextmanager
def _replayed(
    model: PreTrainedModel, outputs: Mapping[str, Sequence[LayerOutput]], part: str, before: int
) -> Iterator[None]:
    """Within the context, the layers that come before a candidate return what was recorded."""
    replaced = []
    for own, recorded in outputs.items():
        # The decoder never comes before the encoder.
        count = before if own == part else len(recorded) if own == "encoder" else 0
        for layer, output in zip(_layers(model, own)[:count], recorded, strict=False):
            layer.forward = lambda *_args, _output=output, **_settings: _output
            replaced.append(layer)
    try:
        yield
    finally:
        for layer in replaced:
            del layer.forward


def _layers(model: PreTrainedModel, part: str) -> list[nn.Module]:
    return list(model.get_submodule(stacks_of(model.config, model)[part].layer_list).children())
