import math

import pytest
import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives import OBJECTIVES
from understudy.objectives.divergences import forward_kl
from understudy.objectives.sparse import bucketed

N, V = 4, 7
SETTINGS: dict[str, dict[str, float]] = {"taid": {"t": 0.6}}
WITH_TEACHER = sorted(name for name, objective in OBJECTIVES.items() if objective.needs == "teacher_logits")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def kept(teacher_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ids and log-probabilities of the most probable tokens."""
    logp_NK, ids_NK = teacher_NV.log_softmax(dim=-1).topk(k)
    return ids_NK, logp_NK


def exact(student_NV: Tensor, teacher_NV: Tensor, k: int) -> Tensor:
    """Forward KL of the buckets from probabilities, position by position, in the type it is given."""
    terms = []
    for q_V, p_V in zip(student_NV.softmax(-1), teacher_NV.softmax(-1), strict=True):
        ids = p_V.topk(k).indices.tolist()
        rest = [v for v in range(V) if v not in ids]
        terms += [p_V[v] * (p_V[v] / q_V[v]).log() for v in ids]
        terms.append(p_V[rest].sum() * (p_V[rest].sum() / q_V[rest].sum()).log())
    return torch.stack(terms).sum()


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_one_token_in_the_rest_is_the_whole_vocabulary(name: str) -> None:
    """With K = V - 1 every divergence is that of the dense distributions."""
    student_NV, teacher_NV = torch.randn(N, V), torch.randn(N, V)
    function, settings = OBJECTIVES[name].function, SETTINGS.get(name, {})

    found = function(*bucketed(student_NV, *kept(teacher_NV, V - 1)), **settings)

    torch.testing.assert_close(found, function(student_NV, teacher_NV, **settings), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3, V - 1])
def test_the_buckets_are_distributions(k: int) -> None:
    """K + 1 probabilities that add up to one, on both sides."""
    for log_NJ in bucketed(torch.randn(N, V), *kept(torch.randn(N, V), k)):
        assert log_NJ.shape == (N, k + 1)
        torch.testing.assert_close(log_NJ.exp().sum(-1), torch.ones(N))


@pytest.mark.parametrize("name", sorted(set(WITH_TEACHER) - {"taid"}))
def test_buckets_never_tell_more_than_tokens(name: str) -> None:
    """A divergence grows with K and stays below that of the whole vocabulary (data processing)."""
    student_NV, teacher_NV = 2 * torch.randn(N, V), 2 * torch.randn(N, V)
    function = OBJECTIVES[name].function
    values = [function(*bucketed(student_NV, *kept(teacher_NV, k))).item() for k in range(1, V)]

    assert values == sorted(values)
    assert 0 < values[0] < values[2] < function(student_NV, teacher_NV).item()


@pytest.mark.parametrize("k", [1, 3])
def test_value_and_gradient_agree_with_finite_differences(k: int) -> None:
    """Central differences, in float64, of a sum by hand; kept tokens and the rest take part."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V)
    found = forward_kl(*bucketed(student_NV, *kept(teacher_NV, k)))
    (gradient_NV,) = torch.autograd.grad(found, student_NV)
    z_NV, far_NV, step = student_NV.detach().double(), teacher_NV.double(), 1e-5

    slope_NV = torch.zeros(N, V, dtype=torch.float64)
    for n in range(N):
        for v in range(V):
            nudge_NV = torch.zeros(N, V, dtype=torch.float64)
            nudge_NV[n, v] = step
            change = exact(z_NV + nudge_NV, far_NV, k) - exact(z_NV - nudge_NV, far_NV, k)
            slope_NV[n, v] = change / (2 * step)

    torch.testing.assert_close(found.double(), exact(z_NV, far_NV, k), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient_NV.double(), slope_NV, rtol=1e-4, atol=1e-6)


def test_a_rest_below_float32_still_teaches() -> None:
    """A student that excludes the rest gets the gradient of dense logits, which brings it back."""
    teacher_NV = torch.tensor([[1.0, 0.0]])
    sparse_NV = torch.tensor([[40.0, 0.0]], requires_grad=True)
    dense_NV = sparse_NV.detach().clone().requires_grad_()
    torch.autograd.backward(forward_kl(*bucketed(sparse_NV, *kept(teacher_NV, 1))))
    torch.autograd.backward(forward_kl(dense_NV, teacher_NV))

    assert sparse_NV.grad is not None
    torch.testing.assert_close(sparse_NV.grad, dense_NV.grad, rtol=1e-4, atol=1e-6)
    assert sparse_NV.grad[0, 1] < -0.2


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_an_empty_rest_leaves_value_and_gradient_finite(name: str) -> None:
    """With K = V, and with a teacher whose kept probabilities add up to a little more than one."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V)
    ids_NV, logp_NV = kept(teacher_NV, V)
    function, settings = OBJECTIVES[name].function, SETTINGS.get(name, {})
    loss = function(*bucketed(student_NV, ids_NV, logp_NV + 1e-6), **settings)
    (gradient_NV,) = torch.autograd.grad(loss, student_NV)

    assert gradient_NV.isfinite().all()
    torch.testing.assert_close(loss, function(student_NV, teacher_NV, **settings), rtol=1e-3, atol=1e-3)


def with_absent(student_NV: Tensor, teacher_NV: Tensor, k: int, more: int) -> tuple[Tensor, Tensor]:
    """What the student's logits are compared with: k kept tokens and, as absent entries, the `more` it likes best."""
    ids_NK, logp_NK = kept(teacher_NV, k)
    others_NV = student_NV.detach().scatter(-1, ids_NK, -torch.inf)
    absent_NM = others_NV.topk(more).indices
    return torch.cat([absent_NM, ids_NK], dim=-1), torch.cat([torch.full((N, more), -torch.inf), logp_NK], dim=-1)


@pytest.mark.parametrize(("k", "more"), [(1, 1), (2, 3), (2, V - 2)])
@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, SETTINGS.get(name, {})) for name in WITH_TEACHER]
    + [(name, {"temperature": 10.0}) for name in ("forward_kl", "reverse_kl", "jsd")],
)
def test_absent_entries_belong_to_the_rest(name: str, settings: dict[str, float], k: int, more: int) -> None:
    """Value and gradient are those of the kept tokens alone, and finite, whatever the absent entries contain."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V)
    losses = [
        OBJECTIVES[name].function(*bucketed(student_NV, ids_NK, logp_NK), **settings)
        for ids_NK, logp_NK in (with_absent(student_NV, teacher_NV, k, more), kept(teacher_NV, k))
    ]
    gradients = [torch.autograd.grad(loss, student_NV)[0] for loss in losses]

    # Temperature 10 multiplies the rounding of float32 by 100.
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-5 if "temperature" in settings else 1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


def test_absent_entries_agree_with_a_sum_by_hand() -> None:
    """Forward KL of a row with one kept token, one absent and two others."""
    q, p = (0.5, 0.25, 0.15, 0.1), 0.7
    expected = p * math.log(p / q[0]) + (1 - p) * math.log((1 - p) / (q[1] + q[2] + q[3]))
    found = forward_kl(
        *bucketed(torch.tensor([q]).log(), torch.tensor([[0, 2]]), torch.tensor([[math.log(p), -math.inf]]))
    )

    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_an_absent_entry_leaves_the_other_rows_alone(name: str) -> None:
    """The rows without one are the same bits as in a batch that has none."""
    student_NV, teacher_NV = torch.randn(N, V), torch.randn(N, V)
    ids_NK, logp_NK = kept(teacher_NV, 3)
    full = bucketed(student_NV, ids_NK, logp_NK)
    logp_NK[0, 2] = -torch.inf
    part = bucketed(student_NV, ids_NK, logp_NK)

    assert all(torch.equal(one[1:], other[1:]) for one, other in zip(part, full, strict=True))


def test_only_the_student_learns_and_in_float32() -> None:
    """Half precision goes in; the teacher's side takes no gradient."""
    logp_NK = torch.tensor([[-0.5]], requires_grad=True)
    student_log_NJ, teacher_log_NJ = bucketed(
        torch.randn(1, V, dtype=torch.bfloat16, requires_grad=True), torch.tensor([[2]]), logp_NK
    )

    assert student_log_NJ.dtype == teacher_log_NJ.dtype == torch.float32
    assert student_log_NJ.requires_grad
    assert not teacher_log_NJ.requires_grad


@pytest.mark.parametrize(("ids", "logp"), [((2, 3), (2, 2)), ((1, 3), (1, 3)), ((2, 6), (2, 6))], ids=str)
def test_shapes_that_do_not_belong_together_are_refused(ids: tuple[int, int], logp: tuple[int, int]) -> None:
    """The message shows all three shapes."""
    with pytest.raises(ObjectiveError, match=r"kept ids.*\(2, 5\), ids \(.*log-probabilities \(.*same target mask"):
        bucketed(torch.zeros(2, 5), torch.zeros(ids, dtype=torch.int64), torch.zeros(logp))
