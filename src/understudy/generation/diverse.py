"""Diverse beams for `generate` of transformers, which lacks them since version 5.

Axes: S sources, G groups of a source (adjacent rows), B = S * G rows, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from understudy.records import Generated


class DiverseGroups(LogitsProcessor):  # type: ignore[misc]
    """Restricts each row to one token: the group's best after a penalty for what earlier groups chose at this step.

        token(g) = argmax over v of log p_g(v) - diversity * (number of earlier groups with token v at this step)

    Groups whose text has ended do not count.

    Source: Vijayakumar et al. 2016, algorithm 1 with one beam per group (arXiv:1610.02424).
    """

    def __init__(self, *, groups: int, diversity: float, ends: Sequence[int]) -> None:
        self._groups = groups
        self._diversity = diversity
        self._ends = torch.tensor(ends)
        self._running_SG: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - a LogitsProcessor
        """The scores BV of one step, with all but each row's token at minus infinity."""
        logprobs_SGV = scores.float().log_softmax(dim=-1).view(-1, self._groups, scores.shape[-1])
        if self._running_SG is None:
            self._running_SG = torch.ones_like(logprobs_SGV[..., 0])
        penalty_SV = torch.zeros_like(logprobs_SGV[:, 0])
        chosen = []
        for group in range(self._groups):
            token_S1 = (logprobs_SGV[:, group] - penalty_SV).argmax(dim=-1, keepdim=True)
            penalty_SV.scatter_add_(1, token_S1, self._diversity * self._running_SG[:, group, None])
            chosen.append(token_S1)
        token_B1 = torch.cat(chosen, dim=1).reshape(-1, 1)
        ended = torch.isin(token_B1.view_as(self._running_SG), self._ends.to(token_B1.device))
        self._running_SG = self._running_SG * ~ended
        return torch.full_like(scores, float("-inf")).scatter_(1, token_B1, 0.0)


def best_first(texts: list[Generated]) -> list[Generated]:
    """The texts of one source by log-probability per token, in nats; of equals the earlier group's first."""
    return sorted(texts, key=lambda text: -text.logprob / len(text.token_ids))
