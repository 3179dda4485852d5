"""How probable a network finds the gold targets: rows of nats and tokens, which `metrics` makes a tally of.

The model is a function from a batch to logits; which model, and on which device, the caller has decided.
Axes: B examples, S source positions, T target positions, V vocabulary, N target tokens of a batch.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray
from understudy.models.forward import padded


class TargetLogits(Protocol):
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


def likelihood_rows(
    target_logits: TargetLogits,
    *,
    ids: Sequence[str],
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int = 16,
    device: str | torch.device = "cpu",
) -> FloatArray:
    """Each target's negative log-likelihood in nats and its tokens, (N, 2).

    Args:
        target_logits: a model in evaluation mode, bound to its `target_logits` function.
        ids: names of the examples.
        sources: token ids of each source, as the model reads them.
        targets: token ids of each target, none of them empty; the end-of-sequence id is scored if it is there.
        batch_size: examples of similar length per call; changes speed and memory, not the value.
        device: where the batches go.

    Raises:
        EvaluationError: if there are no examples, the three lists differ in length, or a target is empty.
    """
    _require_targets(ids, sources, targets)
    rows_ND = np.empty((len(targets), 2))
    order = sorted(range(len(targets)), key=lambda index: (len(targets[index]), len(sources[index])))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows_ND[chosen] = _batch_rows(
            target_logits, [sources[index] for index in chosen], [targets[index] for index in chosen], device
        )
    return rows_ND


def _batch_rows(
    target_logits: TargetLogits, sources: list[Sequence[int]], targets: list[Sequence[int]], device: str | torch.device
) -> FloatArray:
    source_ids_SL, source_mask_SL = (ids.to(device) for ids in padded(sources))
    target_ids_BT, target_mask_BT = (ids.to(device) for ids in padded(targets))
    with torch.inference_mode():
        logits_NV = target_logits(
            source_ids_SL=source_ids_SL,
            source_mask_SL=source_mask_SL,
            source_of_B=torch.arange(len(targets), device=device),
            target_ids_BT=target_ids_BT,
            target_mask_BT=target_mask_BT,
        )
        # In float32: near -10, bfloat16 rounds a log-probability to steps of 1/16.
        nats_N = F.cross_entropy(logits_NV.float(), target_ids_BT[target_mask_BT], reduction="none")
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
