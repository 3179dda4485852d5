"""Truncation of teacher distributions: which tokens are kept, and what is lost."""

import math

import pytest
import torch
from benchmarks.logprob_bytes import OBJECTIVES, Part, gradient_errors, synthetic
from tests.config.test_truncation import objective_of
from torch.distributions import Categorical, kl_divergence

from understudy.config.truncation import MEASURED
from understudy.config.truncation import gradient_errors as errors_in_the_table
from understudy.objectives.divergences import forward_kl
from understudy.objectives.sparse import bucketed
from understudy.objectives.truncation import lost_divergence, truncated

P_V = [0.05, 0.5, 0.1, 0.3, 0.05]


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [(3, 1.0, 3), (9, 1.0, 5), (3, 0.49, 1), (3, 0.51, 2), (3, 0.81, 3), (3, 0.99, 3), (5, 0.96, 5), (5, 1e-9, 1)],
)
def test_the_fewest_tokens_with_the_mass_are_kept(top_k: int, top_p: float, kept: int) -> None:
    """Most probable first, and no more than `top_k`; all of them at `top_p` 1."""
    ids_NK, logp_NK = truncated(torch.tensor([P_V]).log() + 3, top_k, top_p)

    assert ids_NK.shape == logp_NK.shape == (1, min(top_k, 5))
    assert ids_NK[0, : min(kept, 3)].tolist() == [1, 3, 2][:kept]
    assert logp_NK[0, :kept].exp().tolist() == pytest.approx(sorted(P_V, reverse=True)[:kept])
    assert (logp_NK[0, kept:] == -math.inf).all()


@pytest.mark.parametrize("top_p", [0.5, 1.0])
def test_the_lost_divergence_is_that_of_torch_distributions(top_p: float) -> None:
    """Between the teacher and what is kept with the rest spread evenly."""
    logits_NV = 3 * torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    ids_NK, logp_NK = truncated(logits_NV, 4, top_p)
    spread_NV = torch.zeros_like(logits_NV)
    for n, (ids_K, logp_K) in enumerate(zip(ids_NK.tolist(), logp_NK.tolist(), strict=True)):
        kept = {token: math.exp(logp) for token, logp in zip(ids_K, logp_K, strict=True) if logp > -math.inf}
        spread_NV[n] = (1 - sum(kept.values())) / (30 - len(kept))
        spread_NV[n, list(kept)] = torch.tensor(list(kept.values()))
    expected_N = kl_divergence(Categorical(logits=logits_NV), Categorical(probs=spread_NV))

    torch.testing.assert_close(lost_divergence(logits_NV, ids_NK, logp_NK), expected_N, rtol=1e-3, atol=1e-6)


def test_it_is_what_forward_kl_leaves_out_for_a_student_that_is_even_among_the_rest() -> None:
    """The whole KL divergence is that of the buckets and the lost one."""
    logits_NV = 3 * torch.randn(6, 30, generator=torch.Generator().manual_seed(0))
    student_NV = torch.randn(6, 30, generator=torch.Generator().manual_seed(1))
    ids_NK, logp_NK = truncated(logits_NV, 4, 1.0)
    even_NV = torch.zeros_like(student_NV).scatter(-1, ids_NK, student_NV.gather(-1, ids_NK))
    whole, kept = forward_kl(even_NV, logits_NV), forward_kl(*bucketed(even_NV, ids_NK, logp_NK))

    torch.testing.assert_close(whole - kept, lost_divergence(logits_NV, ids_NK, logp_NK).sum())


def test_nothing_is_lost_where_all_tokens_are_kept() -> None:
    """Zero, and not nan."""
    logits_NV = torch.randn(3, 5)

    assert lost_divergence(logits_NV, *truncated(logits_NV, 5, 1.0)).abs().max() < 1e-6


@pytest.fixture(scope="module")
def drawn() -> list[Part]:
    """Distributions over 32,000 tokens, other ones than those of the table."""
    return [synthetic(32_000, 40, agreement=0.8, seed=2)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_errors_are_as_large_as_the_guard_says(name: str, drawn: list[Part]) -> None:
    """Measured again on fewer positions, for three truncations of the table in config/truncation.py."""
    table = errors_in_the_table(objective_of(name))
    assert table is not None
    places = (1, 3, 4)
    for place, error in zip(places, gradient_errors(drawn, [MEASURED[n] for n in places], name), strict=True):
        assert 0.4 * table[place] - 0.3 < 100 * error < 1.8 * table[place] + 0.3
