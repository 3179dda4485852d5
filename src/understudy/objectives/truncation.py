"""Truncation of teacher distributions to the most probable tokens, and what it loses.

Axes: N target positions, V vocabulary, K kept tokens.
"""

import torch
from torch import Tensor


def truncated(logits_NV: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """The tokens of top-p (nucleus) truncation within the `top_k` most probable ones.

    Kept are the fewest tokens, most probable first, whose probabilities add up to `top_p`, and at most `top_k`. At
    `top_p` 1 these are always `top_k`.

    Args:
        logits_NV: of the teacher, float32.
        top_k: K, at most the vocabulary.
        top_p: in (0, 1].

    Returns:
        Ids and log-probabilities among all V in nats, both NK, most probable first; minus infinity where a token is
        not kept. The first always is.

    Source: Holtzman et al. 2020, section 3.1 (arXiv:1904.09751), there for sampling.
    """
    top_NK, ids_NK = logits_NV.topk(min(top_k, logits_NV.shape[1]), dim=-1)
    logp_NK = top_NK - logits_NV.logsumexp(dim=-1, keepdim=True)
    return ids_NK, within_top_p(logp_NK, top_p)


def within_top_p(logp_NK: Tensor, top_p: float) -> Tensor:
    """Log-probabilities, most probable first, with minus infinity after the first whose sum is `top_p`."""
    if top_p == 1:
        return logp_NK
    p_NK = logp_NK.exp()
    return logp_NK.masked_fill(p_NK.cumsum(dim=-1) - p_NK >= top_p, -torch.inf)


def lost_divergence(logits_NV: Tensor, ids_NK: Tensor, logp_NK: Tensor) -> Tensor:
    """What truncation loses of a distribution: its KL divergence from what is kept, at each position in nats.

        lost = KL(p || p̂) = Σ p(v) · log(p(v) · m / r) over the m tokens v that are not kept,  r = Σ p(v) over them

    p̂ has p at the kept tokens and spreads the rest r evenly over the m others. It is also what forward KL on
    `bucketed` leaves out for a student whose probabilities of these m tokens are equal: in general this is
    r · KL(p(·|rest) || q(·|rest)) at student q.

    Args:
        logits_NV: of the teacher, float32.
        ids_NK: as `truncated` returns them.
        logp_NK: the same; minus infinity where a token is not kept.

    Returns:
        (N,), float32, at least 0 but for rounding.
    """
    kept_NK = logp_NK > -torch.inf
    p_NV = logits_NV.softmax(dim=-1)
    rest_NV = p_NV.scatter(-1, ids_NK, torch.where(kept_NK, 0.0, p_NV.gather(-1, ids_NK)))
    rest_N, others_N = rest_NV.sum(dim=-1), logits_NV.shape[1] - kept_NK.sum(dim=-1)
    return torch.xlogy(rest_NV, rest_NV).sum(dim=-1) + torch.xlogy(rest_N, others_N.clamp(min=1) / rest_N.clamp(1e-30))
