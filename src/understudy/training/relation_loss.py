"""Relations beside the objective: what is alike to the teacher's attention is to be alike to the student's.

Which states are heard stands in models/attention.py, how they are compared in objectives/relations.py; here, under
which masks, and how much the comparison weighs.
Axes: S sources, L source positions, B targets, T target positions, W positions of a source and its target in one row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives.relations import relation_kl

LEAST = 0.025
"""A mean below this does not raise a term's scale further (Calderon et al. 2023)."""
KEYS: Mapping[str, Mapping[bool, tuple[str, ...]]] = {
    "attention": {
        True: tuple(f"{part}.{role}" for part in ("encoder", "decoder", "cross") for role in ("query", "key", "value")),
        False: tuple(f"decoder.{role}" for role in ("query", "key", "value")),
    },
    "hidden": {True: ("encoder.hidden", "decoder.hidden"), False: ("decoder.hidden",)},
}
"""What is compared: of networks with an encoder, and of those without."""


@dataclass(frozen=True)
class RelationLoss:
    """A share of the loss is the relations'."""

    of: Literal["attention", "hidden"]
    share: float
    scale_batches: int
    """Batches over which the means of both terms are taken before training."""

    def mixed(self, divergence: Tensor, relations: Tensor, memory: Mapping[str, float]) -> Tensor:
        """Both sums as one, each by its scale."""
        rest = (1 - self.share) * divergence * memory["scale_divergence"]
        return rest + self.share * relations * memory["scale_relations"]

    def scales(self, sums: Iterable[tuple[Tensor, Tensor, int]]) -> dict[str, float]:
        """The scales, from divergence, relations and positions of some batches: 1 / max(mean, 0.025)."""
        divergence, relations, positions = (sum(map(float, column)) for column in zip(*sums, strict=True))
        return {
            "scale_divergence": 1 / max(divergence / positions, LEAST),
            "scale_relations": 1 / max(relations / positions, LEAST),
        }

    def compare(
        self,
        student: Mapping[str, Tensor],
        teacher: Mapping[str, Tensor],
        inputs: Mapping[str, Tensor],
        *,
        heads: int,
    ) -> Tensor:
        """The mean of the terms of each target, weighted by its tokens and summed, in nats.

        Weighted so, a step is a mean over target positions like that of the divergence, however it is cut.

        Args:
            student: what was heard of its last layers while it read the batch.
            teacher: the same of the teacher.
            inputs: the batch.
            heads: the teacher's.

        Raises:
            ObjectiveError: if one of the two has an encoder and the other has none.
        """
        has_encoder = "encoder.hidden" in teacher
        if has_encoder != ("encoder.hidden" in student):
            raise ObjectiveError(
                "relations compare the attention of networks of one kind, but one of teacher and student has an "
                "encoder and the other has none; use two of one kind, or leave distil.relations out"
            )
        terms_B = [
            self._term(key, student[key], teacher[key], inputs, heads=heads, has_encoder=has_encoder)
            for key in KEYS[self.of][has_encoder]
        ]
        return (torch.stack(terms_B).mean(dim=0) * inputs["target_mask_BT"].sum(dim=1)).sum()

    def _term(
        self,
        key: str,
        student: Tensor,
        teacher: Tensor,
        inputs: Mapping[str, Tensor],
        *,
        heads: int,
        has_encoder: bool,
    ) -> Tensor:
        """One relation of each target."""
        sources_SL, of_B, targets_BT = (inputs[name] for name in ("source_mask_SL", "source_of_B", "target_mask_BT"))
        match key:
            case "encoder.query" | "encoder.key" | "encoder.value" | "encoder.hidden":
                return relation_kl(student, teacher, sources_SL, heads=heads, causal=False)[of_B]
            case "cross.key" | "cross.value":
                return relation_kl(student, teacher, sources_SL[of_B], heads=heads, causal=False)
            case "cross.query":
                return relation_kl(student, teacher, targets_BT, heads=heads, causal=False)
        # A decoder-only network reads source and target in one row, whose last token predicts nothing.
        read_B = targets_BT.sum(dim=1) if has_encoder else sources_SL.sum(dim=1)[of_B] + targets_BT.sum(dim=1) - 1
        mask = torch.arange(student.shape[1], device=student.device) < read_B[:, None]
        return relation_kl(student, teacher, mask, heads=heads, causal=True)
