from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives import OBJECTIVES

N, V = 4, 7
WITH_TEACHER = sorted(name for name, objective in OBJECTIVES.items() if objective.needs == "teacher_logits")
SETTINGS: dict[str, Mapping[str, float]] = {"taid": {"t": 0.6}}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def kl(p_NV: Tensor, q_NV: Tensor) -> Tensor:
    """The textbook sum, on probabilities."""
    return (p_NV * (p_NV.log() - q_NV.log())).sum()


BY_HAND: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "forward_kl": lambda q, p, _zq, _zp: kl(p, q),
    "reverse_kl": lambda q, p, _zq, _zp: kl(q, p),
    "jsd": lambda q, p, _zq, _zp: 0.5 * kl(p, (p + q) / 2) + 0.5 * kl(q, (p + q) / 2),
    "tvd": lambda q, p, _zq, _zp: (p - q).abs().sum() / 2,
    "skew_kl": lambda q, p, _zq, _zp: kl(p, 0.1 * p + 0.9 * q),
    "skew_reverse_kl": lambda q, p, _zq, _zp: kl(q, 0.9 * p + 0.1 * q),
    "taid": lambda q, _p, zq, zp: kl((0.4 * zq.detach() + 0.6 * zp).softmax(-1), q),
}


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_it_agrees_with_a_sum_by_hand_in_float64(name: str) -> None:
    """The value and, through float64 autograd, the gradient."""
    student_NV = torch.randn(N, V, requires_grad=True)
    teacher_NV = torch.randn(N, V)
    exact_NV = student_NV.detach().double().requires_grad_()
    far_NV = teacher_NV.double()

    found = OBJECTIVES[name].function(student_NV, teacher_NV, **SETTINGS.get(name, {}))
    expected = BY_HAND[name](exact_NV.softmax(-1), far_NV.softmax(-1), exact_NV, far_NV)
    (found_gradient,) = torch.autograd.grad(found, student_NV)
    (expected_gradient,) = torch.autograd.grad(expected, exact_NV)

    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found_gradient.double(), expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_its_gradient_agrees_with_finite_differences(name: str) -> None:
    """A step of the student's logits changes the loss as the gradient predicts; TAID's target is held constant."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V)
    function, settings = OBJECTIVES[name].function, SETTINGS.get(name, {})
    (gradient,) = torch.autograd.grad(function(student_NV, teacher_NV, **settings), student_NV)
    step_NV = torch.randn(N, V)
    size = 1e-3
    z_NV = student_NV.detach()
    if name == "taid":
        teacher_NV, function, settings = torch.lerp(z_NV, teacher_NV, 0.6), OBJECTIVES["forward_kl"].function, {}
    change = function(z_NV + size * step_NV, teacher_NV, **settings) - function(
        z_NV - size * step_NV, teacher_NV, **settings
    )

    torch.testing.assert_close(change / (2 * size), (gradient * step_NV).sum(), rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_equal_distributions_are_at_no_distance(name: str) -> None:
    """Zero where both say the same, above zero where they do not."""
    logits_NV = torch.randn(N, V)
    function, settings = OBJECTIVES[name].function, SETTINGS.get(name, {})

    torch.testing.assert_close(function(logits_NV, logits_NV, **settings), torch.tensor(0.0), rtol=0, atol=1e-5)
    assert function(torch.randn(N, V), logits_NV, **settings) > 0.1


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_takes_no_gradient(name: str) -> None:
    """Only the student learns."""
    teacher_NV = torch.randn(N, V, requires_grad=True)
    loss = OBJECTIVES[name].function(torch.randn(N, V, requires_grad=True), teacher_NV, **SETTINGS.get(name, {}))
    torch.autograd.backward(loss)

    assert teacher_NV.grad is None


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_different_vocabularies_are_refused(name: str) -> None:
    """The message names the objective, shows both shapes and the objective that would work."""
    with pytest.raises(ObjectiveError, match=rf"{name} compares.*\(1, 5\).*\(1, 7\).*cross_entropy"):
        OBJECTIVES[name].function(torch.zeros(1, 5), torch.zeros(1, 7), **SETTINGS.get(name, {}))


def test_the_most_probable_tokens_are_learned_as_labels() -> None:
    """ImitKD's measure is the likelihood of the teacher's choice."""
    student_NV, best_N = torch.randn(N, V), torch.randint(V, (N,))
    expected = -student_NV.softmax(-1)[range(N), best_N].log().sum()

    torch.testing.assert_close(OBJECTIVES["argmax_cross_entropy"].function(student_NV, best_N), expected)


def test_the_ends_are_the_plain_divergences() -> None:
    """JSD at 0 and 1, the skew divergences at 0, TAID at 1."""
    student_NV, teacher_NV = torch.randn(N, V), torch.randn(N, V)

    def value(name: str, **settings: float) -> Tensor:
        return OBJECTIVES[name].function(student_NV, teacher_NV, **settings)

    forward, reverse = value("forward_kl"), value("reverse_kl")
    for equal in (value("jsd", beta=0.0), value("skew_kl", alpha=0.0), value("taid", t=1.0)):
        torch.testing.assert_close(equal, forward)
    for equal in (value("jsd", beta=1.0), value("skew_reverse_kl", alpha=0.0)):
        torch.testing.assert_close(equal, reverse)


def test_skew_kl_stays_finite_where_the_student_excludes_a_token() -> None:
    """At most -log alpha for each position, where forward KL grows without end."""
    teacher_NV = torch.tensor([[10.0, 0.0]])
    student_NV = torch.tensor([[-1e4, 0.0]])

    assert OBJECTIVES["skew_kl"].function(student_NV, teacher_NV) <= torch.tensor(0.1).log().neg() + 1e-5
    assert OBJECTIVES["forward_kl"].function(student_NV, teacher_NV) > 1e3


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_jsd_agrees_with_trl(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient are those of TRL's GKD trainer, whose sum we take."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd import GKDTrainer

    teacher_NV, student_NV = torch.randn(N, V), torch.randn(N, V, requires_grad=True)
    ours = OBJECTIVES["jsd"].function(student_NV, teacher_NV, beta=beta)
    theirs = GKDTrainer.generalized_jsd_loss(student_NV[None], teacher_NV[None], beta=beta, reduction="sum")

    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, student_NV), torch.autograd.grad(theirs, student_NV))
