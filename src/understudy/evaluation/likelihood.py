"""Negative log-likelihood of target tokens under a network: nats and token counts, the statistics of metric `nll`.

The network is a function from a batch to logits; the caller chooses the model and the device.
Axes: B examples, S source positions, T target positions, V vocabulary, N target tokens of a batch.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray, IntArray
from understudy.models.forward import padded


class TargetLogitsFunction(Protocol):
    """Logits at the true positions of the target mask, row by row; each predicts the token at its position."""

    def __call__(
        self,
        *,
        source_ids_SL: Tensor,
        source_mask_SL: Tensor,
        source_of_B: Tensor,
        target_ids_BT: Tensor,
        target_mask_BT: Tensor,
    ) -> Tensor:
        """Logits, (N, V)."""


def likelihood_statistics(
    target_logits: TargetLogitsFunction,
    *,
    ids: Sequence[str],
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int = 16,
    device: str | torch.device = "cpu",
) -> FloatArray:
    """Each target's negative log-likelihood in nats and its number of tokens, (N, 2).

    Args:
        target_logits: a model in evaluation mode, bound to its `target_logits` function.
        ids: names of the examples, for error messages.
        sources: token ids of each source in the model's vocabulary.
        targets: token ids of each target, none of them empty; an end-of-sequence id counts like any token.
        batch_size: examples of similar length per call; changes speed and memory, not the value.
        device: of the batches.

    Raises:
        EvaluationError: if there are no examples, the three lists differ in length, or a target is empty.
    """
    _require_targets(ids, sources, targets)
    statistics_ND = np.empty((len(targets), 2))
    order = sorted(range(len(targets)), key=lambda index: (len(targets[index]), len(sources[index])))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        own = [targets[index] for index in chosen]
        logits_NV = logits_at_targets(target_logits, [sources[index] for index in chosen], own, device)
        statistics_ND[chosen] = _nats_and_tokens(logits_NV, own)
    return statistics_ND


def top_tokens(
    target_logits: TargetLogitsFunction,
    *,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    vocab_size: int,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
) -> IntArray:
    """The tokens of the targets and the most probable token at the position of each, (2, P), target by target.

    Args:
        target_logits: a model in evaluation mode, bound to its `target_logits` function.
        sources: token ids of each source in the model's vocabulary.
        targets: token ids of each target, none of them empty.
        vocab_size: further columns of the logits are padding and are ignored.
        batch_size: examples per call; changes speed and memory, not the value.
        device: of the batches.
    """
    top: list[int] = []
    for start in range(0, len(targets), batch_size):
        part = slice(start, start + batch_size)
        logits_NV = logits_at_targets(target_logits, sources[part], targets[part], device)
        top += logits_NV[:, :vocab_size].argmax(dim=-1).tolist()
    return np.array([[token for target in targets for token in target], top], dtype=np.int64)


def logits_at_targets(
    target_logits: TargetLogitsFunction,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    device: str | torch.device,
) -> Tensor:
    """Logits NV at every token of the targets, in order, for one target per source; without gradients."""
    source_ids_SL, source_mask_SL = (ids.to(device) for ids in padded(sources))
    target_ids_BT, target_mask_BT = (ids.to(device) for ids in padded(targets))
    with torch.inference_mode():
        return target_logits(
            source_ids_SL=source_ids_SL,
            source_mask_SL=source_mask_SL,
            source_of_B=torch.arange(len(targets), device=device),
            target_ids_BT=target_ids_BT,
            target_mask_BT=target_mask_BT,
        )


def _nats_and_tokens(logits_NV: Tensor, targets: Sequence[Sequence[int]]) -> FloatArray:
    labels_N = torch.tensor([token for target in targets for token in target], device=logits_NV.device)
    with torch.inference_mode():
        # Compute in float32: near -10, bfloat16 rounds a log-probability to steps of 1/16.
        nats_N = F.cross_entropy(logits_NV.float(), labels_N, reduction="none")
    lengths_B = [len(target) for target in targets]
    starts_B = np.cumsum([0, *lengths_B[:-1]])
    nats_B = np.add.reduceat(nats_N.double().cpu().numpy(), starts_B)
    return np.stack([nats_B, np.array(lengths_B, dtype=np.float64)], axis=1)


def _require_targets(ids: Sequence[str], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> None:
    if not len(ids) == len(sources) == len(targets) > 0:
        raise EvaluationError(
            f"nll needs one id, one source and one target per example, got {len(ids)}, {len(sources)} and "
            f"{len(targets)}; give three lists of one length, at least 1"
        )
    empty = [name for name, target in zip(ids, targets, strict=True) if not target]
    if empty:
        raise EvaluationError(
            f"nll scores target tokens, and {len(empty)} of {len(ids)} targets have none (first: {empty[0]!r}); "
            "end targets with the end-of-sequence token, or leave these examples out"
        )
