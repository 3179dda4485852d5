"""What the student is compared with: labels, and what the teacher says, now or when it was asked.

Axes: N target positions of a micro-batch, V vocabulary, K kept tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives.sparse import bucketed
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.mixture import TrainItem


@dataclass(frozen=True)
class Supervision:
    """What the student is compared with at N target positions."""

    labels_N: Tensor
    logits_NV: Tensor | None = None
    """The teacher's, where it is listened to now."""
    kept: tuple[Tensor, Tensor] | None = None
    """Ids and log-probabilities, both NK, of its most probable tokens, where it was listened to before."""

    def part(self, part_N: Tensor) -> "Supervision":
        """Some of the positions."""
        logits_NV = None if self.logits_NV is None else self.logits_NV[part_N]
        kept = None if self.kept is None else (self.kept[0][part_N], self.kept[1][part_N])
        return Supervision(self.labels_N[part_N], logits_NV, kept)

    def best(self) -> Tensor:
        """The teacher's most probable tokens."""
        return self.kept[0][:, 0] if self.kept else self._whole().argmax(dim=-1)

    def beside(self, student_logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's distributions over the same events, as logits."""
        return bucketed(student_logits_NV, *self.kept) if self.kept else (student_logits_NV, self._whole())

    def _whole(self) -> Tensor:
        if self.logits_NV is None:
            raise ObjectiveError("the objective compares with a teacher's distributions; give it a teacher")
        return self.logits_NV


def cached_logprobs_of(
    lessons: Sequence[TrainItem],
    texts: Mapping[TextGenerator, TokenArrays],
    logprob_caches: Mapping[TextGenerator, TeacherLogprobs],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """The signal of a micro-batch, in the order of its rows."""
    parts = [(logprob_caches[lesson.generator], texts[lesson.generator].places(lesson.rows)) for lesson in lessons]
    ids_NK = np.concatenate([signal.ids_PK[places] for signal, places in parts])
    logp_NK = np.concatenate([signal.logp_PK[places] for signal, places in parts])
    return torch.from_numpy(ids_NK).long().to(device), torch.from_numpy(logp_NK).float().to(device)
