"""What the student's distributions are compared with: labels, live teacher logits or cached teacher log-probabilities.

Axes: N target positions of a micro-batch, V vocabulary, K kept tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.models.projection import Projection
from understudy.objectives.sparse import bucketed
from understudy.pool.logprob_cache import AnyLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.items import TrainItem


@dataclass(frozen=True)
class Supervision:
    """Labels and, where an objective needs them, teacher distributions at N target positions."""

    labels_N: Tensor
    logits_NV: Tensor | Projection | None = None
    """Live teacher logits, or the way to them: they are computed by `part`."""
    kept: tuple[Tensor, Tensor] | None = None
    """Cached: ids and log-probabilities, both NK, of the teacher's most probable tokens."""

    def select(self, at_N: Tensor | slice) -> "Supervision":
        """The same at the positions where a mask is true, or at those of a slice, for which a teacher is projected."""
        logits_NV, kept = self.logits_NV, self.kept
        if isinstance(logits_NV, Projection):
            logits_NV = logits_NV.logits(at_N)
        elif logits_NV is not None:
            logits_NV = logits_NV[at_N]
        return Supervision(self.labels_N[at_N], logits_NV, None if kept is None else (kept[0][at_N], kept[1][at_N]))

    def argmax(self) -> Tensor:
        """The teacher's most probable token at each position, (N,)."""
        return self.kept[0][:, 0] if self.kept else self._live_logits().argmax(dim=-1)

    def logit_pair(self, student_logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's logits over the same events: the vocabulary, or kept tokens and a tail."""
        return bucketed(student_logits_NV, *self.kept) if self.kept else (student_logits_NV, self._live_logits())

    def _live_logits(self) -> Tensor:
        if self.logits_NV is None:
            raise ObjectiveError("the objective compares with teacher distributions, but there is no teacher; pass one")
        return self.logits_NV.logits(slice(None)) if isinstance(self.logits_NV, Projection) else self.logits_NV


def cached_logprobs(
    items: Sequence[TrainItem],
    texts: Mapping[TextGenerator, TokenArrays],
    logprob_caches: Mapping[TextGenerator, AnyLogprobs],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities, both NK, of a micro-batch from the caches, in the order of its target rows."""
    parts = [logprob_caches[item.generator].at(texts[item.generator].positions(item.rows)) for item in items]
    ids_NK = np.concatenate([part.ids_PK for part in parts])
    logp_NK = np.concatenate([part.logp_PK for part in parts])
    return torch.from_numpy(ids_NK).long().to(device), torch.from_numpy(logp_NK).float().to(device)
