"""The relation loss: the student's last layers learn to relate positions to each other as the teacher's do.

models/attention.py captures the states and objectives/relations.py compares them; this module chooses the masks and
the weight of the comparison.
Axes: S sources, L source positions, B targets, T target positions, W positions of a source and its target in one row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives.relations import relation_kl

MIN_MEAN = 0.025
"""A mean below this does not raise a term's scale further (Calderon et al. 2023)."""
KEYS: Mapping[str, Mapping[bool, tuple[str, ...]]] = {
    "attention": {
        True: tuple(f"{part}.{role}" for part in ("encoder", "decoder", "cross") for role in ("query", "key", "value")),
        False: tuple(f"decoder.{role}" for role in ("query", "key", "value")),
    },
    "hidden": {True: ("encoder.hidden", "decoder.hidden"), False: ("decoder.hidden",)},
}
"""The compared states: of networks with an encoder (True) and without (False)."""


@dataclass(frozen=True)
class RelationLoss:
    """A share of the loss compares relations between positions instead of token distributions."""

    of: Literal["attention", "hidden"]
    share: float
    scale_batches: int
    """Micro-batches over which the mean of both terms is measured before training."""

    def combine(self, divergence: Tensor, relations: Tensor, scales: Mapping[str, float]) -> Tensor:
        """The weighted sum of both terms, each multiplied by its scale."""
        rest = (1 - self.share) * divergence * scales["scale_divergence"]
        return rest + self.share * relations * scales["scale_relations"]

    def scales(self, sums: Iterable[tuple[Tensor, Tensor, int]]) -> dict[str, float]:
        """The scales from (divergence, relations, positions) of some micro-batches: 1 / max(mean, 0.025)."""
        divergence, relations, positions = (sum(map(float, column)) for column in zip(*sums, strict=True))
        return {
            "scale_divergence": 1 / max(divergence / positions, MIN_MEAN),
            "scale_relations": 1 / max(relations / positions, MIN_MEAN),
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

        With this weight a step is a mean over target positions, as for the divergence, however it is accumulated.

        Args:
            student: captured states of its last layers in the forward pass of the batch.
            teacher: the same of the teacher.
            inputs: the batch.
            heads: number of the teacher's attention heads.

        Raises:
            ObjectiveError: if one of the two has an encoder and the other does not.
        """
        has_encoder = "encoder.hidden" in teacher
        if has_encoder != ("encoder.hidden" in student):
            raise ObjectiveError(
                "distil.relations compares networks of one kind, but one of teacher and student has an encoder and the "
                "other does not; use two encoder-decoders or two decoder-only networks, or remove distil.relations"
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
        """One relation term of each target, (B,)."""
        sources_SL, of_B, targets_BT = (inputs[name] for name in ("source_mask_SL", "source_of_B", "target_mask_BT"))
        match key:
            case "encoder.query" | "encoder.key" | "encoder.value" | "encoder.hidden":
                return relation_kl(student, teacher, sources_SL, heads=heads, causal=False)[of_B]
            case "cross.key" | "cross.value":
                return relation_kl(student, teacher, sources_SL[of_B], heads=heads, causal=False)
            case "cross.query":
                return relation_kl(student, teacher, targets_BT, heads=heads, causal=False)
        # A decoder-only network has source and target in one row, whose last token predicts nothing.
        length_B = targets_BT.sum(dim=1) if has_encoder else sources_SL.sum(dim=1)[of_B] + targets_BT.sum(dim=1) - 1
        mask = torch.arange(student.shape[1], device=student.device) < length_B[:, None]
        return relation_kl(student, teacher, mask, heads=heads, causal=True)
