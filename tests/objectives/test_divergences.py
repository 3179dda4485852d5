from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from understudy.errors import ObjectiveError
from understudy.objectives.divergences import cross_entropy, forward_kl

N, V = 4, 7
LABELS = torch.tensor([3, 0, 6, 3])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def slope(loss: Callable[[Tensor], Tensor], logits_NV: Tensor, step: float = 1e-2) -> Tensor:
    """Central differences in float64 of a function of logits."""
    gradient_NV = torch.zeros(N, V, dtype=torch.float64)
    for n in range(N):
        for v in range(V):
            nudge = torch.zeros(N, V, dtype=torch.float64)
            nudge[n, v] = step
            gradient_NV[n, v] = (loss(logits_NV + nudge) - loss(logits_NV - nudge)) / (2 * step)
    return gradient_NV


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_forward_kl_agrees_with_torch_distributions(temperature: float) -> None:
    """An implementation that is not ours gives the same number, in both orders of its arguments a different one."""
    student_NV, teacher_NV = torch.randn(N, V), torch.randn(N, V)
    p, q = Categorical(logits=teacher_NV / temperature), Categorical(logits=student_NV / temperature)

    found = forward_kl(student_NV, teacher_NV, temperature=temperature)
    torch.testing.assert_close(found, temperature**2 * kl_divergence(p, q).sum())
    assert not torch.isclose(found, temperature**2 * kl_divergence(q, p).sum())


def test_equal_distributions_have_no_divergence() -> None:
    """Logits that differ by a constant are one distribution; the gradient is zero there."""
    teacher_NV = torch.randn(N, V)
    student_NV = (teacher_NV + 5.0).requires_grad_()
    loss = forward_kl(student_NV, teacher_NV)
    torch.autograd.backward(loss)

    torch.testing.assert_close(loss.detach(), torch.tensor(0.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(student_NV.grad, torch.zeros(N, V), rtol=0, atol=1e-6)


def test_cross_entropy_agrees_with_torch_distributions() -> None:
    """The negative log-probability of the labels, summed."""
    student_NV = torch.randn(N, V)

    expected = -Categorical(logits=student_NV).log_prob(LABELS).sum()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(cross_entropy(student_NV, LABELS), expected)


def test_label_smoothing_agrees_with_its_formula() -> None:
    """The docstring's sum, term by term in float64."""
    student_NV, s = torch.randn(N, V), 0.3
    logq = Categorical(logits=student_NV.double()).logits.tolist()
    expected = -sum(
        (1 - s) * logq[n][label] + s / V * sum(logq[n][v] for v in range(V)) for n, label in enumerate(LABELS.tolist())
    )

    assert cross_entropy(student_NV, LABELS, label_smoothing=s).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_of_forward_kl_is_its_slope(temperature: float) -> None:
    """Central differences of the independent float64 value."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V)
    torch.autograd.backward(forward_kl(student_NV, teacher_NV, temperature=temperature))

    def reference(logits_NV: Tensor) -> Tensor:
        p = Categorical(logits=teacher_NV.double() / temperature)
        return temperature**2 * kl_divergence(p, Categorical(logits=logits_NV / temperature)).sum()

    expected = slope(reference, student_NV.detach().double()).float()
    torch.testing.assert_close(student_NV.grad, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_gradient_of_cross_entropy_is_softmax_minus_target(label_smoothing: float) -> None:
    """The closed form, in float64."""
    student_NV = torch.randn(N, V, requires_grad=True)
    torch.autograd.backward(cross_entropy(student_NV, LABELS, label_smoothing=label_smoothing))
    target_NV = torch.eye(V, dtype=torch.float64)[LABELS] * (1 - label_smoothing) + label_smoothing / V
    expected = student_NV.detach().double().softmax(dim=-1) - target_NV

    torch.testing.assert_close(student_NV.grad, expected.float())


def test_the_teacher_gets_no_gradient() -> None:
    """Even where its logits would take one."""
    student_NV, teacher_NV = torch.randn(N, V, requires_grad=True), torch.randn(N, V, requires_grad=True)
    torch.autograd.backward(forward_kl(student_NV, teacher_NV))

    assert teacher_NV.grad is None
    assert student_NV.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """The loss of rounded logits is not rounded a second time."""
    student_NV, teacher_NV = torch.randn(N, V).to(dtype), torch.randn(N, V).to(dtype)

    assert forward_kl(student_NV, teacher_NV).dtype == cross_entropy(student_NV, LABELS).dtype == torch.float32
    assert torch.equal(forward_kl(student_NV, teacher_NV), forward_kl(student_NV.float(), teacher_NV.float()))
    assert torch.equal(cross_entropy(student_NV, LABELS), cross_entropy(student_NV.float(), LABELS))


def test_a_step_may_be_cut_anywhere() -> None:
    """The loss is a sum: parts add up to the whole."""
    student_NV, teacher_NV = torch.randn(N, V), torch.randn(N, V)
    parts = [forward_kl(student_NV[cut], teacher_NV[cut]) for cut in (slice(1), slice(1, N))]

    torch.testing.assert_close(sum(parts), forward_kl(student_NV, teacher_NV))


def test_different_vocabularies_are_refused() -> None:
    """The message shows both shapes and names the objective that would work."""
    with pytest.raises(ObjectiveError, match=r"one vocabulary.*\(2, 5\).*\(2, 7\).*tokenizer, or objective cross_ent"):
        forward_kl(torch.zeros(2, 5), torch.zeros(2, 7))


def test_a_label_too_few_is_refused() -> None:
    """The message shows both shapes and what to do."""
    with pytest.raises(ObjectiveError, match=r"one label per position.*\(2, 5\).*\(1,\); select both with the same"):
        cross_entropy(torch.zeros(2, 5), torch.zeros(1, dtype=torch.int64))
